"""Scores: one number per sample, larger = more likely memorized or mislabelled.

`registry` says what a score is. `from_trajectory` holds the scores of the recorded epochs; every other score
has a file of its own, named after its method. A new file is imported here, which registers its scores.
"""

from memtrack.core.scores import from_trajectory, vog  # noqa: F401  (registers their scores)
from memtrack.core.scores.registry import (
    RENAMED,
    SCORES,
    WINDOW,
    Need,
    Score,
    compute,
    known,
    needs,
    ranks,
    title,
)

__all__ = ["RENAMED", "SCORES", "WINDOW", "Need", "Score", "compute", "known", "needs", "ranks", "title"]
