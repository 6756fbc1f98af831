"""Data sets: their sources, prepared form, variants of the labels, and batches."""
