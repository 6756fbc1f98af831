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
        description="Two samples are near duplicates if their distance is below this share of the median "
        "distance of a sample to its nearest neighbour, and below this share of the distance of each of the "
        "two to the furthest of its `neighbours`; 0: only exact duplicates.",
    )
    neighbours: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="Each sample is compared with this many nearest neighbours."
    )
