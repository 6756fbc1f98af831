"""Memorization by subsampling: many networks, and what follows from what they get right."""
