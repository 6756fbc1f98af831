"""Training a network, one epoch at a time."""
