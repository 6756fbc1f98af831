"""The bootstrap over samples, for measures whose intervals have no closed form.

It is paired: every score is evaluated on the same resamples. With many samples it is a bag of little
bootstraps: each resample has as many samples as there are, but they are drawn from a random subset.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memtrack.core.evaluation.intervals import Interval, Values

Rows = NDArray[np.int64]
Statistic = Callable[[Values], Values]
"""Takes how often each sample counts, and returns an array, always of the same shape."""
LARGE = 20_000
"""With more samples than this, resamples are drawn from subsets."""
EACH = 100
"""The number of resamples from one subset."""


@dataclass(frozen=True)
class Resampling:
    """Settings of a bootstrap.

    Attributes:
        resamples: number of bootstrap samples. confidence: level of the intervals. seed: seed of the draws.
    """

    resamples: int
    confidence: float
    seed: int

    def subset(self, samples: int) -> int:
        """How many of the samples a resample is drawn from: all of them, or N^0.7 but at least `LARGE`."""
        return min(samples, max(LARGE, round(samples**0.7)))


def deviations(statistic: Callable[[Rows], Statistic], samples: int, how: Resampling) -> Values:
    """How far the statistic on a resample is from its value on what the resample is drawn from.

    Args:
        statistic: takes the rows of some of the samples, (n,), and returns the statistic on them, whose
            weights (n,) sum to N.
        samples: N.

    Returns:
        (subsets, resamples of each, ...). With at most `LARGE` samples there is one subset, all samples.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 6.2; Kleiner et al.,
    A scalable bootstrap for massive data, JRSS B 2014 (subsets).
    """
    generator = np.random.Generator(np.random.PCG64(how.seed))
    size = how.subset(samples)
    subsets = max(1, how.resamples // EACH) if size < samples else 1
    found = []
    for _ in range(subsets):
        rows = generator.choice(samples, size, replace=False) if size < samples else np.arange(samples)
        measure = statistic(rows)
        value = measure(np.full(size, samples / size))
        counts = (
            generator.multinomial(samples, np.full(size, 1 / size)) for _ in range(how.resamples // subsets)
        )
        found.append([measure(weights.astype(float)) - value for weights in counts])
    return np.array(found)


def intervals(values: Values, deviating: Values, confidence: float) -> list[Interval]:
    """Each of `values` (M,) with its percentile interval: the value plus the quantiles of its deviations
    (subsets, resamples, M), each the mean over the subsets. NaN deviations are ignored."""
    tail = (1 - confidence) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a value may be undefined in all resamples
        ends = np.nanquantile(deviating, [tail, 1 - tail], axis=1)
        low, high = values + np.nanmean(ends, axis=1)
    return [Interval(*found) for found in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)]
