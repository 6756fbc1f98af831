"""Samples that are far from all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = 3.0
"""Outliers lie beyond the upper quartile by more than this number of interquartile ranges."""
Values = NDArray[np.float64]


def outliers(distances: Values, training: int) -> tuple[NDArray[np.int64], Values]:
    """The rows of the samples that are far from their neighbours, and their distances divided by the median.

    A sample is far if its distance is beyond Tukey's outer fence: above the upper quartile by more than three
    interquartile ranges. Median and quartiles are those of the first `training` samples.

    Args:
        distances: the mean distance of each sample to its nearest neighbours, (N,).

    Source: Tukey, Exploratory Data Analysis, 1977, section 2D. The distance is that of Kuan & Mueller, ICML
    DataPerf 2022 (cleanlab).
    """
    low, median, high = np.quantile(distances[:training], [0.25, 0.5, 0.75])
    rows = np.flatnonzero(distances > high + FAR * (high - low))
    return rows, distances[rows] / (median or 1.0)
