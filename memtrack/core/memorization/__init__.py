"""Memorization by subsampling: many networks, and estimates from their correct predictions."""
