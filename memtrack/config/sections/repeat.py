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
    """Train every variant again with each seed, to show how much of a score difference is chance."""

    seeds: Annotated[tuple[Seed, ...], Strict(False), AfterValidator(different)] = Field(
        (), description="Each replaces train.seed and curvature.seed; the labels stay the same."
    )
