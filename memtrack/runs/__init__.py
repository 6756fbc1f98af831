"""One training: what it depends on, which files it keeps, and the driver that runs it."""
