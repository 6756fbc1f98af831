"""One training: what it depends on, what it keeps, and the driver."""
