"""The verbs of the command line. Each module is imported when its verb is called."""
