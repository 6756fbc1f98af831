"""Section `duplicates`: what counts as a near duplicate."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Section


class DuplicatesParams(Section):
    """What counts as a near duplicate."""

    ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.4,
        description="Two samples are near where their distance is below this share of the usual distance "
        "(the median) of a sample to its nearest neighbour, and of that to the furthest of `neighbours`; 0: "
        "exact duplicates alone.",
    )
    neighbours: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="So many nearest neighbours of each sample are looked at."
    )
