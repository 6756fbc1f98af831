"""Confidence intervals of estimates whose covariance is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimates:
    """Estimates of one measure for M scores on the same samples.

    Attributes:
        values: the estimates, (M,), within `bounds`. NaN where the measure is not defined.
        covariance: of their errors, (M, M).
        bounds: the least and the largest value that the measure can have.
    """

    values: Values
    covariance: Values
    bounds: tuple[float, float]

    def intervals(self, confidence: float) -> list[Interval]:
        """The interval of each estimate, (M,).

        An interval is normal on the scale of logit((value - least) / (largest - least)), so it stays within
        the bounds and is longer on the side where there is more room. For a correlation this is Fisher's z.
        A value without error, such as the AUROC of a score that separates the two kinds perfectly, is its own
        interval.
        """
        from scipy.special import expit, logit  # takes a quarter of a second at the start

        least, largest = self.bounds
        z = _quantile(confidence)
        found = []
        for value, variance in zip(self.values.tolist(), self.covariance.diagonal().tolist(), strict=True):
            room = (value - least) * (largest - value) / (largest - least)
            if not (room > 0 and variance > 0):
                found.append(Interval(value, value, value))
                continue
            middle, step = logit((value - least) / (largest - least)), z * math.sqrt(variance) / room
            low, high = least + (largest - least) * expit([middle - step, middle + step])
            found.append(Interval(value, float(low), float(high)))
        return found

    def differences(self, pairs: Iterable[tuple[int, int]], confidence: float) -> list[Interval]:
        """For each pair of places the first estimate minus the second, with its normal interval."""
        z, variances = _quantile(confidence), self.covariance.diagonal()
        found = []
        for one, other in pairs:
            value = float(self.values[one] - self.values[other])
            variance = variances[one] + variances[other] - 2 * self.covariance[one, other]
            step = z * math.sqrt(max(0.0, variance))
            found.append(Interval(value, value - step, value + step))
        return found


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
