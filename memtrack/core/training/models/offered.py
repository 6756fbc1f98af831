"""Weights that libraries offer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OfferedWeights:
    """Weights that a library offers by name, and what they are for.

    Attributes:
        name: their full name. url: where they are.
        mean, std: of each channel of the inputs, pixels in [0, 1]. size: width and height of the inputs.
    """

    name: str
    url: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
