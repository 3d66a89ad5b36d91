"""For authors and users of plugins: creating, checking and installing them (`binder plugins`)."""
