"""Section `utility`: networks trained without the memorized samples."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
)

from memtrack.config.sections.base import Choices, Section, VariantNames


class UtilityParams(Section):
    """What the memorized samples contribute: networks are trained without them."""

    variants: VariantNames = Field((), description="Some of memorization.variants; []: none.")
    thresholds: Choices[Annotated[float, Field(ge=0, lt=1, multiple_of=0.001)]] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        description="Samples with memorization above this are left out, compared with as many random ones.",
    )
    models: Annotated[int, Field(ge=2, le=100_000)] = Field(
        20, description="Networks for each threshold, and as many trained without random samples."
    )
