"""Data sets: sources, the prepared form, variants of the labels, batches."""
