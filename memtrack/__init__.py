"""memtrack: find the training samples that a network had to memorize."""
