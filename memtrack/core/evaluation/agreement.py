"""How far scores agree with memorization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from memtrack.core.evaluation.bootstrap import Interval, Resampling, Values, draws, intervals
from memtrack.core.memorization.estimates import MEMORIZED

MEASURES = ("pearson", "spearman", "cosine", "top_overlap", "precision")
"""How far a score agrees with memorization.

pearson, spearman: correlations. cosine: of the two, the score's least value taken as 0. top_overlap: share of
the 5% of samples with the highest scores that are among the 5% of highest memorization. precision: of the K
samples with the highest scores the share whose memorization is above 0.25, where K samples have such a one.
Ties are broken at random: what is given is the mean over all ways to do so.
"""
TOP = 0.05
Agreement = dict[str, Interval]


def agreements(
    scores: Mapping[str, Values], memorization: Values, how: Resampling
) -> tuple[dict[str, Agreement], dict[tuple[str, str], Agreement]]:
    """Compare scores, larger = more memorized, with memorization by the `MEASURES`.

    Args:
        scores: for each name the values (N,).
        memorization: (N,), without NaN.
        how: the bootstrap intervals over samples. All scores are compared on the same resamples, so that
            differences are paired.

    Returns:
        for each name its agreement, highest correlation first; and for each two names, in this order, the
        difference. NaN where a measure is not defined: no sample above 0.25, a score with a single value.
    """
    samples = len(memorization)
    comparison = _Comparison(list(scores.values()), memorization)
    found = comparison.measures(np.ones(samples))
    drawn = draws(comparison.measures, [np.arange(samples)], how)
    names = list(scores)
    order = sorted(range(len(names)), key=lambda row: -np.nan_to_num(found[row, 0], nan=-2))

    def agreement(values: Values, own: Values) -> Agreement:
        return dict(zip(MEASURES, intervals(values, own, how.confidence), strict=True))

    judged = {names[row]: agreement(found[row], drawn[:, row]) for row in order}
    differences = {
        (names[one], names[other]): agreement(found[one] - found[other], drawn[:, one] - drawn[:, other])
        for one, other in combinations(order, 2)
    }
    return judged, differences


def disagreements(
    scores: Values, memorization: Values, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most `most` rows each: the samples of highest score that are not memorized (mem at most 0.25), and
    the memorized ones of lowest score. Both (N,); of equal scores those of least, of most memorization come
    first; samples whose memorization is NaN are left out."""
    order = np.lexsort((memorization, -scores))
    order = order[~np.isnan(memorization[order])]
    memorized = memorization[order] > MEMORIZED
    return order[~memorized][:most], order[memorized][::-1][:most]


class _Comparison:
    """Scores and memorization, put into order once for all resamples."""

    def __init__(self, scores: Sequence[Values], memorization: Values) -> None:
        self.scores = [(values, values - values.min(), _levels(values)) for values in scores]
        self.memorization, self.level = memorization, _levels(memorization)
        self.memorized = memorization > MEMORIZED

    def measures(self, weights: Values) -> Values:
        """Of each score, (scores, 5), each sample counted as often as its weight (N,) says."""
        top, memorized = max(1.0, np.round(TOP * weights.sum())), float(weights @ self.memorized)
        places, most = _places(self.level, weights), _first(self.level, weights, top)
        square = weights @ self.memorization**2
        rows = []
        for values, raised, level in self.scores:
            norms = math.sqrt((weights @ raised**2) * square)
            flagged = _first(level, weights, memorized)
            row = [
                correlation(values, self.memorization, weights),
                correlation(_places(level, weights), places, weights),
                float(weights @ (raised * self.memorization)) / norms if norms else math.nan,
                float(weights @ (_first(level, weights, top) * most)) / top,
                float(weights @ (flagged * self.memorized)) / memorized if memorized else math.nan,
            ]
            rows.append(row)
        return np.array(rows)


def _levels(values: Values) -> NDArray[np.int64]:
    """The place of each value (N,) among the distinct ones, from the smallest."""
    levels: NDArray[np.int64] = np.unique(values, return_inverse=True)[1]
    return levels


def _first(level: NDArray[np.int64], weights: Values, count: float) -> Values:
    """For each sample the chance that it is among the first `count`, largest level first, where ties are
    broken at random."""
    counts = np.bincount(level, weights)
    above = counts.sum() - np.cumsum(counts)
    taken = np.clip(count - above, 0, counts) / np.maximum(counts, 1e-300)
    chances: Values = taken[level]
    return chances


def _places(level: NDArray[np.int64], weights: Values) -> Values:
    """The place of each sample from the smallest, equal ones sharing the mean of theirs."""
    counts = np.bincount(level, weights)
    places: Values = (np.cumsum(counts) - counts / 2)[level]
    return places


def correlation(one: Values, other: Values, weights: Values) -> float:
    """Pearson's, (N,) each, each sample counted as often as its weight says; NaN where one is constant."""
    total = weights.sum()
    rounding = 1e-12 * math.sqrt((weights @ one**2) * (weights @ other**2))
    one, other = one - weights @ one / total, other - weights @ other / total
    norms = math.sqrt((weights @ one**2) * (weights @ other**2))
    return float(np.clip(weights @ (one * other) / norms, -1, 1)) if norms > rounding else math.nan
