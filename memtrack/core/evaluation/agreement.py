"""How closely scores agree with memorization."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from memtrack.core.evaluation.bootstrap import Resampling, Rows, Statistic, deviations, intervals
from memtrack.core.evaluation.intervals import Estimates, Interval, Values
from memtrack.core.memorization.estimates import MEMORIZED

MEASURES = ("pearson", "spearman", "cosine", "top_overlap", "precision")
"""The measures of how closely a score agrees with memorization.

pearson, spearman: correlations. cosine: the cosine between the score minus its minimum and memorization.
top_overlap: the share of the 5% of samples with the highest scores that are among the 5% with the highest
memorization. precision: the share of the K samples with the highest scores whose memorization is above 0.25,
where K is the number of samples with memorization above 0.25. Ties are broken at random, and the value is the
mean over all ways to break them.
"""
CLOSED = ("pearson", "spearman", "cosine")
"""The measures whose intervals have a closed form; those of the others come from the bootstrap."""
TOP = 0.05
Agreement = dict[str, Interval]


def agreements(
    scores: Mapping[str, Values], memorization: Values, how: Resampling
) -> tuple[dict[str, Agreement], dict[tuple[str, str], Agreement]]:
    """Compare scores (larger = more memorized) with memorization by the `MEASURES`.

    The intervals of the measures in `CLOSED` come from the infinitesimal jackknife, those of the others from
    the bootstrap over samples. All differences are paired.

    Args:
        scores: for each name the values (N,).
        memorization: (N,), without NaN.
        how: settings of the bootstrap, and the level of all intervals.

    Returns:
        the agreement of each name, highest Pearson correlation first, and the difference of each pair of
        names in this order; the intervals do not account for this choice. NaN where a measure is undefined:
        no sample is above 0.25, or a score has a single value.

    Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 6.
    """
    names, values = list(scores), list(scores.values())
    estimates = [
        _estimates(values, lambda one: _correlation_influence(one, memorization)),
        _estimates(values, _spearman_influence(memorization)),
        _estimates(values, lambda one: _cosine_influence(one - one.min(), memorization)),
    ]

    def tops(rows: Rows) -> Statistic:
        return _tops([one[rows] for one in values], memorization[rows])

    samples = len(memorization)
    found = tops(np.arange(samples))(np.ones(samples))
    drawn = deviations(tops, samples, how)
    first = estimates[0].values
    order = sorted(range(len(names)), key=lambda row: -np.nan_to_num(first[row], nan=-2))
    pairs = list(combinations(order, 2))
    alone = [measure.intervals(how.confidence) for measure in estimates]
    paired = [measure.differences(pairs, how.confidence) for measure in estimates]

    results = {}
    for row in order:
        own = [measure[row] for measure in alone]
        own += [_within(end) for end in intervals(found[row], drawn[:, :, row], how.confidence)]
        results[names[row]] = dict(zip(MEASURES, own, strict=True))
    differences = {}
    for number, (one, other) in enumerate(pairs):
        both = [measure[number] for measure in paired]
        both += intervals(found[one] - found[other], drawn[:, :, one] - drawn[:, :, other], how.confidence)
        differences[names[one], names[other]] = dict(zip(MEASURES, both, strict=True))
    return results, differences


def _within(share: Interval) -> Interval:
    """The interval of a share, cut at 0 and 1."""
    return Interval(share.value, *np.clip([share.low, share.high], 0, 1).tolist())


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


def _estimates(scores: Sequence[Values], of: Callable[[Values], tuple[float, Values]]) -> Estimates:
    """A measure of each score, with the covariance that follows from the influence of each sample on it."""
    samples = len(scores[0])
    values, influence = np.empty(len(scores)), np.empty((len(scores), samples))
    for row, one in enumerate(scores):
        values[row], influence[row] = of(one)
    return Estimates(values, influence @ influence.T / samples**2, (-1.0, 1.0))


def _correlation_influence(one: Values, other: Values) -> tuple[float, Values]:
    """Pearson's correlation, and the influence of each sample on it: N times its derivative by the weight of
    the sample."""
    value = correlation(one, other)
    if math.isnan(value):
        return value, np.full(len(one), math.nan)
    one, other = _standardized(one), _standardized(other)
    return value, one * other - value / 2 * (one**2 + other**2)


def _spearman_influence(memorization: Values) -> Callable[[Values], tuple[float, Values]]:
    """The same of Spearman's correlation with memorization. A sample also shifts the ranks of those above."""
    level = _levels(memorization)
    ranks = _mean_ranks(level)

    def shifts(level: NDArray[np.int64], own: Values, others: Values, value: float) -> Values:
        slopes = np.bincount(level, _standardized(others) - value * _standardized(own))
        found: Values = (slopes.sum() - np.cumsum(slopes) + slopes / 2)[level] / own.std()
        return found

    def influence(one: Values) -> tuple[float, Values]:
        own_level = _levels(one)
        own = _mean_ranks(own_level)
        value, direct = _correlation_influence(own, ranks)
        if math.isnan(value):
            return value, direct
        return value, direct + shifts(own_level, own, ranks, value) + shifts(level, ranks, own, value)

    return influence


def _cosine_influence(one: Values, other: Values) -> tuple[float, Values]:
    """The same of the cosine."""
    squares, others = one @ one, other @ other
    norms = math.sqrt(squares * others)
    if not norms:
        return math.nan, np.full(len(one), math.nan)
    value = float(one @ other) / norms
    return value, len(one) * (one * other / norms - value / 2 * (one**2 / squares + other**2 / others))


def _tops(scores: Sequence[Values], memorization: Values) -> Statistic:
    """top_overlap and precision of each score, (scores, 2), if each sample counts as often as its weight."""
    memorized = (memorization > MEMORIZED).astype(float)
    true, rankings = _Ranking(memorization), [_Ranking(values) for values in scores]

    def measures(weights: Values) -> Values:
        top, count = max(1.0, np.round(TOP * weights.sum())), float(weights @ memorized)
        [(rows, shares)] = true.first(weights, top)
        in_top = np.zeros(len(weights))
        in_top[rows] = shares
        found = []
        for ranking in rankings:
            (rows, shares), (likely, theirs) = ranking.first(weights, top, count)
            right = (weights[likely] * theirs) @ memorized[likely]
            found.append([
                (weights[rows] * shares) @ in_top[rows] / top, right / count if count else math.nan
            ])  # fmt: skip
        return np.array(found)

    return measures


class _Ranking:
    """Samples in the order of their values (N,), the largest first."""

    def __init__(self, values: Values) -> None:
        self.order = np.argsort(-values, kind="stable")
        ordered = values[self.order]
        changes = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        self.ties = np.concatenate([[0], changes, [len(values)]])
        """Where each group of equal values begins, and the end of the last one."""

    def first(self, weights: Values, *counts: float) -> list[tuple[NDArray[np.int64], Values]]:
        """For each count the rows of the samples that can be among so many with the largest values, and the
        probability that they are if ties are broken at random."""
        sums = np.cumsum(weights[self.order])
        found = []
        for count in counts:
            last = min(int(np.searchsorted(sums, count)), len(sums) - 1)
            group = int(np.searchsorted(self.ties, last, "right"))
            start, end = self.ties[group - 1], self.ties[group]
            before = sums[start - 1] if start else 0.0
            shares = np.ones(end)
            shares[start:] = (count - before) / (sums[end - 1] - before) if sums[end - 1] > before else 0.0
            found.append((self.order[:end], shares))
        return found


def _levels(values: Values) -> NDArray[np.int64]:
    """The index of each value (N,) among the distinct values, from 0 for the smallest."""
    levels: NDArray[np.int64] = np.unique(values, return_inverse=True)[1]
    return levels


def _mean_ranks(level: NDArray[np.int64]) -> Values:
    """The rank of each sample, from the smallest, up to a constant. Equal samples share their mean rank."""
    counts = np.bincount(level)
    ranks: Values = (np.cumsum(counts) - counts / 2)[level]
    return ranks


def _standardized(values: Values) -> Values:
    found: Values = (values - values.mean()) / values.std()
    return found


def correlation(one: Values, other: Values) -> float:
    """Pearson's correlation of two arrays (N,). NaN where one is constant."""
    rounding = 1e-12 * math.sqrt((one @ one) * (other @ other))
    one, other = one - one.mean(), other - other.mean()
    norms = math.sqrt((one @ one) * (other @ other))
    return float(np.clip(one @ other / norms, -1, 1)) if norms > rounding else math.nan
