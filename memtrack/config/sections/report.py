"""Section `report`: how much the page of a variant holds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from memtrack.config.sections.base import Section


class ReportParams(Section):
    """The page on which people look at the suspects and decide."""

    samples: Annotated[int, Field(ge=1, le=100_000)] = Field(
        10_000, description="The number of samples that the page shows, the most suspect ones."
    )
    thumbnail: Annotated[int, Field(ge=8, le=512)] = Field(
        48,
        description="The longer side of an image in the page, in pixels; smaller images stay as they are.",
    )
