"""The bootstrap over samples, paired: every score is judged on the same resamples."""

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
    """A number with its percentile interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap is made.

    Attributes:
        resamples: how many bootstrap samples are drawn. confidence: of the intervals. seed: of the draws.
    """

    resamples: int
    confidence: float
    seed: int


def resampled(strata: Sequence[Rows], how: Resampling) -> Iterator[Values]:
    """How often each of N samples is in each bootstrap sample, (N,), `how.resamples` times.

    Args:
        strata: the rows of the samples in groups; each group is drawn with replacement on its own, so that
            every bootstrap sample has as many samples of it as there are. Together they are 0 to N - 1.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, sections 6.2 and 8.2 (strata).
    """
    generator = np.random.Generator(np.random.PCG64(how.seed))
    samples = sum(map(len, strata))
    for _ in range(how.resamples):
        drawn = [rows[generator.integers(0, len(rows), len(rows))] for rows in strata]
        yield np.bincount(np.concatenate(drawn), minlength=samples).astype(float)


def draws(statistic: Callable[[Values], Values], strata: Sequence[Rows], how: Resampling) -> Values:
    """A statistic of each bootstrap sample, (resamples, ...).

    Args:
        statistic: of how often each sample counts, (N,); always of the same shape.
    """
    return np.array([statistic(weights) for weights in resampled(strata, how)])


def intervals(values: Values, drawn: Values, confidence: float) -> list[Interval]:
    """Each of `values` (M,) with the percentile interval of its draws (resamples, M), NaN being left out."""
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value may be defined in no resample
        low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return [Interval(*ends) for ends in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)]
