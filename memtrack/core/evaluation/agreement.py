"""How closely scores agree with memorization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from memtrack.core.evaluation.bootstrap import Interval, Resampling, Values, draws, intervals
from memtrack.core.memorization.estimates import MEMORIZED

MEASURES = ("pearson", "spearman", "cosine", "top_overlap", "precision")
"""The measures of how closely a score agrees with memorization.

pearson, spearman: correlations. cosine: the cosine between the score minus its minimum and memorization.
top_overlap: the share of the 5% of samples with the highest scores that are among the 5% with the highest
memorization. precision: the share of the K samples with the highest scores whose memorization is above 0.25,
where K is the number of samples with memorization above 0.25. Ties are broken at random, and the value is the
mean over all ways to break them.
"""
TOP = 0.05
Agreement = dict[str, Interval]


def agreements(
    scores: Mapping[str, Values], memorization: Values, how: Resampling
) -> tuple[dict[str, Agreement], dict[tuple[str, str], Agreement]]:
    """Compare scores (larger = more memorized) with memorization by the `MEASURES`.

    Args:
        scores: for each name the values (N,).
        memorization: (N,), without NaN.
        how: settings of the bootstrap over samples. All scores are compared on the same resamples, so the
            differences are paired.

    Returns:
        the agreement of each name, highest Pearson correlation first, and the difference of each pair of
        names in this order. NaN where a measure is undefined: no sample is above 0.25, or a score has a
        single value.
    """
    samples = len(memorization)
    comparison = _Comparison(list(scores.values()), memorization)
    found = comparison.measures(np.ones(samples))
    drawn = draws(comparison.measures, [np.arange(samples)], how)
    names = list(scores)
    order = sorted(range(len(names)), key=lambda row: -np.nan_to_num(found[row, 0], nan=-2))

    def agreement(values: Values, own: Values) -> Agreement:
        return dict(zip(MEASURES, intervals(values, own, how.confidence), strict=True))

    results = {names[row]: agreement(found[row], drawn[:, row]) for row in order}
    differences = {
        (names[one], names[other]): agreement(found[one] - found[other], drawn[:, one] - drawn[:, other])
        for one, other in combinations(order, 2)
    }
    return results, differences


def disagreements(
    scores: Values, memorization: Values, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the samples with the highest scores that are not memorized (memorization at most 0.25), and
    of the memorized samples with the lowest scores, at most `most` each. Both inputs are (N,). Among equal
    scores, the least memorized come first in the former and the most memorized in the latter. Samples whose
    memorization is NaN are left out."""
    order = np.lexsort((memorization, -scores))
    order = order[~np.isnan(memorization[order])]
    memorized = memorization[order] > MEMORIZED
    return order[~memorized][:most], order[memorized][::-1][:most]


class _Comparison:
    """Scores and memorization, sorted once for all resamples."""

    def __init__(self, scores: Sequence[Values], memorization: Values) -> None:
        self.scores = [(values, values - values.min(), _levels(values)) for values in scores]
        self.memorization, self.level = memorization, _levels(memorization)
        self.memorized = memorization > MEMORIZED

    def measures(self, weights: Values) -> Values:
        """The measures of each score, (scores, 5). Each sample counts as often as its weight (N,)."""
        top, memorized = max(1.0, np.round(TOP * weights.sum())), float(weights @ self.memorized)
        ranks, in_top = _mean_ranks(self.level, weights), _chance_in_top(self.level, weights, top)
        square = weights @ self.memorization**2
        rows = []
        for values, shifted, level in self.scores:
            norms = math.sqrt((weights @ shifted**2) * square)
            flagged = _chance_in_top(level, weights, memorized)
            row = [
                correlation(values, self.memorization, weights),
                correlation(_mean_ranks(level, weights), ranks, weights),
                float(weights @ (shifted * self.memorization)) / norms if norms else math.nan,
                float(weights @ (_chance_in_top(level, weights, top) * in_top)) / top,
                float(weights @ (flagged * self.memorized)) / memorized if memorized else math.nan,
            ]
            rows.append(row)
        return np.array(rows)


def _levels(values: Values) -> NDArray[np.int64]:
    """The index of each value (N,) among the distinct values, from 0 for the smallest."""
    levels: NDArray[np.int64] = np.unique(values, return_inverse=True)[1]
    return levels


def _chance_in_top(level: NDArray[np.int64], weights: Values, count: float) -> Values:
    """The probability that each sample is among the `count` with the largest level, if ties are broken at
    random."""
    counts = np.bincount(level, weights)
    above = counts.sum() - np.cumsum(counts)
    taken = np.clip(count - above, 0, counts) / np.maximum(counts, 1e-300)
    chances: Values = taken[level]
    return chances


def _mean_ranks(level: NDArray[np.int64], weights: Values) -> Values:
    """The rank of each sample, from the smallest, up to a constant. Equal samples share their mean rank."""
    counts = np.bincount(level, weights)
    ranks: Values = (np.cumsum(counts) - counts / 2)[level]
    return ranks


def correlation(one: Values, other: Values, weights: Values) -> float:
    """Pearson's correlation of two arrays (N,), weighted by how often each sample counts (N,). NaN where one
    is constant."""
    total = weights.sum()
    rounding = 1e-12 * math.sqrt((weights @ one**2) * (weights @ other**2))
    one, other = one - weights @ one / total, other - weights @ other / total
    norms = math.sqrt((weights @ one**2) * (weights @ other**2))
    return float(np.clip(weights @ (one * other) / norms, -1, 1)) if norms > rounding else math.nan
