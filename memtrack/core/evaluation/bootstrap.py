"""The bootstrap over samples. It is paired: every score is evaluated on the same resamples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampling:
    """Settings of a bootstrap.

    Attributes:
        resamples: number of bootstrap samples. confidence: level of the intervals. seed: seed of the draws.
    """

    resamples: int
    confidence: float
    seed: int


def resampled(strata: Sequence[Rows], how: Resampling) -> Iterator[Values]:
    """Draw `how.resamples` bootstrap samples, each as the number of times that each sample is in it, (N,).

    Args:
        strata: the rows of the samples in groups, together 0 to N - 1. Each group is drawn separately with
            replacement, so every bootstrap sample has as many samples of a group as the group itself.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, sections 6.2 and 8.2 (strata).
    """
    generator = np.random.Generator(np.random.PCG64(how.seed))
    samples = sum(map(len, strata))
    for _ in range(how.resamples):
        drawn = [rows[generator.integers(0, len(rows), len(rows))] for rows in strata]
        yield np.bincount(np.concatenate(drawn), minlength=samples).astype(float)


def draws(statistic: Callable[[Values], Values], strata: Sequence[Rows], how: Resampling) -> Values:
    """The values of a statistic on each bootstrap sample, (resamples, ...).

    Args:
        statistic: takes how often each sample counts, (N,), and returns an array, always of the same shape.
    """
    return np.array([statistic(weights) for weights in resampled(strata, how)])


def intervals(values: Values, drawn: Values, confidence: float) -> list[Interval]:
    """Each of `values` (M,) with the percentile interval of its draws (resamples, M), ignoring NaN."""
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value may be undefined in all resamples
        low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return [Interval(*ends) for ends in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)]
