"""The shape of an image."""

from __future__ import annotations

Shape = tuple[int, int, int]
"""Shape of an image: (channels, height, width)."""
