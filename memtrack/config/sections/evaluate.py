"""Section `evaluate`: the scores and the intervals of what is measured of them.

This section only looks scores up by name; stage `evaluate` computes them. So a new score changes nothing that
other stages read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from memtrack.config.sections.base import Choices, Section, Seed
from memtrack.config.validation import nearest
from memtrack.core.evaluation.bootstrap import Resampling
from memtrack.core.scores import RENAMED, SCORES, WINDOW, Need, known
from memtrack.core.scores.suspicion import SUSPICION


def _score_name(name: str) -> str:
    if len(name) > 100:
        raise ValueError("no score has a name of more than 100 letters")
    window = WINDOW.fullmatch(name)
    base = window["name"] if window is not None else name
    if base in RENAMED:
        raise ValueError(
            f"the score {base!r} is called {RENAMED[base]!r} now: write {name.replace(base, RENAMED[base])}"
        )
    if not known(name):
        raise ValueError(
            f"no score {name!r}{nearest(base, SCORES)}; there are: {', '.join(SCORES)}, and "
            "NAME_epochs_FIRST_LAST for a range of epochs"
        )
    return name


ASKED_BY = {
    Need.PRETRAINED: "suspects.pretrained",
    Need.TRAININGS: "averaged.variants",
    Need.HALVES: "halves.variants",
    Need.TURN_OVER: "halves.variants",
}
"""What is there only if a key of params.yaml asks for it. The scores that need it are then on by default."""
ScoreName = Annotated[str, AfterValidator(_score_name)]


class EvaluateParams(Section):
    """The scores, and the intervals of what is measured of them."""

    scores: Choices[ScoreName] | None = Field(
        None,
        description="The names of the scores; null: all but the costly ones (docs/scores.md). `suspicion` is "
        "always computed.",
    )
    bootstrap: Annotated[int, Field(ge=10, le=100_000)] = Field(
        1000,
        description="Resamples for the intervals of top_overlap and precision in stage agreement. All other "
        "intervals have a closed form.",
    )
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(0.95, description="The level of all intervals.")
    seed: Seed = Field(0, description="Seed of the resamples.")

    @property
    def asked(self) -> tuple[str, ...]:
        """The scores to compute; those that lack what they need are left out."""
        chosen = self.scores or tuple(
            name for name, score in SCORES.items() if score.by_default or ASKED_BY.keys() & {*score.needs}
        )
        return tuple(dict.fromkeys((SUSPICION, *chosen)))

    @property
    def resampling(self) -> Resampling:
        """The resampling, and the level of all intervals."""
        return Resampling(self.bootstrap, self.confidence, self.seed)


def window_problem(name: str, recorded: Sequence[int]) -> str | None:
    """The problem if no epoch of a score's window is recorded, or None."""
    window = WINDOW.fullmatch(name)
    if window is None:
        return None
    first, last = int(window["first"]), int(window["last"])
    if any(first <= epoch <= last for epoch in recorded):
        return None
    epochs = ", ".join(map(str, recorded))
    return f"no epoch from {first} to {last} is recorded (the recorded epochs are {epochs})"
