"""Confident learning: labels that a network which never saw the sample confidently disagrees with."""

from __future__ import annotations

import numpy as np

from memtrack.core.labels.confident import confident_thresholds
from memtrack.core.scores.halves import COST, Halves
from memtrack.core.scores.registry import Need, Values, score


@score(needs=(Need.HALVES,), cost=COST, by_default=False)
def confident_learning(halves: Halves) -> Values:
    """By how much another class is more confident than the given label y: the largest of p_c - t_c over the
    classes c other than y, minus p_y - t_y. p are the probabilities of a network that never saw the sample, t
    the `confident_thresholds`.

    Source: Northcutt, Jiang & Chuang, JAIR 2021, section 3 (the normalized margin, with the thresholds taken
    out as in Kuan & Mueller, 2022).
    """
    thresholds = confident_thresholds(halves.labels, halves.probabilities)
    above = halves.probabilities - np.where(np.isinf(thresholds), 1, thresholds)
    rows = np.arange(len(halves.labels))
    own = above[rows, halves.labels]
    above[rows, halves.labels] = -np.inf
    found: Values = above.max(axis=1) - own
    return found
