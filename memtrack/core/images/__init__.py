"""Images as arrays: operations on their pixels, and their normalization for a network."""
