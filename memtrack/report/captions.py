"""The words below an image on a contact sheet."""

from __future__ import annotations

LONGEST_ID = 24
"""So many characters of a sample's id are shown, the last ones."""


def caption(sample: object, *lines: str, before: str = "") -> str:
    """A sample's id, shortened to its end, and further lines. `before` stands in front of the id."""
    return "\n".join([before + str(sample)[len(before) - LONGEST_ID :], *lines])
