"""The command line: a module per verb, with slow imports inside the functions that need them."""
