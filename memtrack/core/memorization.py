"""Memorization and influence by subsampling: how much a sample's label hangs on its being trained on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]

MEMORIZED, INFLUENTIAL = 0.25, 0.15
"""The thresholds of Feldman & Zhang, 2020, section 3."""


class Counts:
    """How often each sample was right among the networks that were trained on it, and among the others.

    Sums of whole numbers: the order in which networks are added, and their grouping, change nothing.
    """

    def __init__(self, samples: int) -> None:
        self.networks = 0
        self.trained = np.zeros((2, samples), dtype=np.int64)
        self.right = np.zeros((2, samples), dtype=np.int64)

    def add(self, members: Flags, correct: Flags) -> None:
        """Add K networks: which samples each was trained on, and which it gets right, both (K, N)."""
        self.networks += len(members)
        for row, flags in enumerate((members, ~members)):
            self.trained[row] += flags.sum(axis=0)
            self.right[row] += (flags & correct).sum(axis=0)

    @property
    def memorization(self) -> Values:
        """mem_m (N,): P[right | trained on it] - P[right | not], NaN where one of the two has no network.

        Source: Feldman & Zhang, NeurIPS 2020, equation 4.
        """
        inside, outside = _shares(self.right, self.trained)
        return inside - outside

    @property
    def out_of_sample(self) -> Values:
        """The share of networks not trained on a sample that get it right, (N,)."""
        return _shares(self.right, self.trained)[1]

    @property
    def standard_error(self) -> Values:
        """Of the memorization (N,): sqrt(p (1 - p) / n + q (1 - q) / m) with a success and a failure added
        to each, so that it is not zero where all networks agree.

        Source: Agresti & Caffo, The American Statistician 2000.
        """
        trained = self.trained + 2
        shares = (self.right + 1) / trained
        return np.sqrt((shares * (1 - shares) / trained).sum(axis=0))


def influence(members: Flags, correct: Flags) -> tuple[Values, Values]:
    """infl_m of some training samples on test samples, and its standard error, both (M, T).

    Args:
        members: which of the training samples each network was trained on, (K, M).
        correct: which test samples each gets right, (K, T).

    Source: Feldman & Zhang, NeurIPS 2020, section 2.3; the standard error as in `Counts`.
    """
    shares, errors = [], []
    for flags in (members, ~members):
        trained = flags.sum(axis=0)[:, None]
        right = flags.T.astype(np.float32) @ correct.astype(np.float32)  # whole numbers, exact
        shares.append(_shares(right, np.broadcast_to(trained, right.shape)))
        adjusted = (right + 1) / (trained + 2)
        errors.append(adjusted * (1 - adjusted) / (trained + 2))
    return shares[0] - shares[1], np.sqrt(errors[0] + errors[1])


@dataclass(frozen=True)
class InfluentialPairs:
    """The pairs of a training sample and a test sample whose influence is above 0.15.

    Attributes:
        train, test: rows of the samples of the largest ones, (P,) each, the largest first.
        influence, standard_error: of these, (P,).
        count: for each test sample how many pairs it is in, (T,).
        sure: how many of them have an influence of more than `SURE` standard errors, (T,).
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    influence: Values
    standard_error: Values
    count: NDArray[np.int64]
    sure: NDArray[np.int64]


SURE = 4
"""Of a million pairs without influence so many standard errors above zero are 140 with 8 networks, whose
counts are far from normal, 15 with 50 and 3 with 200 (measured on digits)."""
ELEMENTS = 2**23
"""The influence of so many pairs is in memory at once."""


def influential_pairs(rows: NDArray[np.int64], members: Flags, correct: Flags, most: int) -> InfluentialPairs:
    """Of some training samples, `rows` (M,), and all test samples; the `most` largest are listed.

    Args: as of `influence`.
    """
    tests = correct.shape[1]
    count, sure = np.zeros((2, tests), dtype=np.int64)
    listed = np.empty((0, 4))
    step = max(1, ELEMENTS // max(1, tests))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        values, errors = influence(members[:, part], correct)
        above = values > INFLUENTIAL
        count += above.sum(axis=0)
        sure += (above & (values > SURE * errors)).sum(axis=0)
        train, test = np.nonzero(above)
        found = np.column_stack([rows[part][train], test, values[above], errors[above]])
        listed = np.concatenate([listed, found])
        listed = listed[np.argsort(-listed[:, 2], kind="stable")[:most]]
    train, test = listed[:, :2].astype(np.int64).T
    return InfluentialPairs(train, test, listed[:, 2], listed[:, 3], count, sure)


@dataclass(frozen=True)
class Interval:
    """A number with its bootstrap interval."""

    value: float
    low: float
    high: float


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
    scores: Mapping[str, Values], memorization: Values, *, resamples: int, confidence: float, seed: int
) -> tuple[dict[str, Agreement], dict[tuple[str, str], Agreement]]:
    """Compare scores, larger = more memorized, with memorization by the `MEASURES`.

    Args:
        scores: for each name the values (N,).
        memorization: (N,), without NaN.
        resamples, confidence, seed: of the percentile bootstrap intervals over samples. All scores are
            compared on the same resamples, so that differences are paired.

    Returns:
        for each name its agreement, highest correlation first; and for each two names, in this order, the
        difference. NaN where a measure is not defined: no sample above 0.25, a score with a single value.
    """
    samples = len(memorization)
    comparison = _Comparison(list(scores.values()), memorization)
    generator = np.random.Generator(np.random.PCG64(seed))
    found = comparison.measures(np.ones(samples))
    draws = np.empty((resamples, *found.shape))
    for draw in draws:
        weights = np.bincount(generator.integers(0, samples, samples), minlength=samples)
        draw[:] = comparison.measures(weights.astype(float))
    names = list(scores)
    order = sorted(range(len(names)), key=lambda row: -np.nan_to_num(found[row, 0], nan=-2))
    judged = {names[row]: _agreement(found[row], draws[:, row], confidence) for row in order}
    differences = {
        (names[one], names[other]): _agreement(
            found[one] - found[other], draws[:, one] - draws[:, other], confidence
        )
        for one, other in combinations(order, 2)
    }
    return judged, differences


def _agreement(found: Values, draws: Values, confidence: float) -> Agreement:
    """Of each measure (5,), and its draws (resamples, 5)."""
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a measure may be defined in no resample
        low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0)
    ends = zip(MEASURES, found.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(*numbers) for name, *numbers in ends}


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


def _shares(right: NDArray[Any], trained: NDArray[Any]) -> Values:
    found: Values = np.where(trained == 0, np.nan, right / np.maximum(trained, 1))
    return found
