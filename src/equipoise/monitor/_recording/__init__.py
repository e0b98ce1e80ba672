"""Where readings go: the file of a run, and loggers of other makers."""
