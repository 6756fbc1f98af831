"""The captions of images on a contact sheet."""

from __future__ import annotations

LONGEST_ID = 24
"""How many characters of a sample's id are shown; they are its last ones."""


def caption(sample: object, *lines: str, before: str = "") -> str:
    """The end of a sample's id, with `before` in front of it, and further lines."""
    return "\n".join([before + str(sample)[len(before) - LONGEST_ID :], *lines])
