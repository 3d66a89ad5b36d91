"""For authors of plugins: `binder plugins new` and `binder plugins check`, and the reference made from the code."""
