"""Section `repeat`: every variant trained again with other seeds."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    Strict,
)

from memtrack.config.sections.base import Section, Seed, different


class RepeatParams(Section):
    """Every variant once more with each of these seeds: how much of a difference between scores is chance."""

    seeds: Annotated[tuple[Seed, ...], Strict(False), AfterValidator(different)] = Field(
        (), description="They take the place of train.seed and curvature.seed; labels stay."
    )
