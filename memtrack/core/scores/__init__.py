"""Scores: one number per sample, larger = more likely memorized or mislabelled.

`registry` defines what a score is. `from_trajectory` holds the scores of the recorded epochs. Every other
score has its own file, named after its method. Import a new file here: the import registers its scores.
"""

from memtrack.core.scores import (  # noqa: F401  (registers their scores)
    arnoldi,
    cg_score,
    confident_learning,
    critical_sample_ratio,
    from_trajectory,
    grand,
    halves,
    neighbours,
    several_trainings,
    suspicion,
    tracin,
    vog,
)
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
