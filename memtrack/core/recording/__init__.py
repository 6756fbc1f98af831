"""Measuring every sample after an epoch, and storing the numbers."""
