"""Measuring every sample after an epoch, and keeping the numbers."""
