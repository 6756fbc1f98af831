"""Figures, tables and metrics of the stages."""
