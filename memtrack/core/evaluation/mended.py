"""How much an accuracy changes when labels of the test samples are mended."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memtrack.core.evaluation.intervals import Interval


class MendedAccuracy(NamedTuple):
    """The accuracy with the labels as they were, as they are, and the second minus the first."""

    given: float
    mended: float
    difference: Interval


def mended_accuracy(
    predicted: NDArray[np.int64],
    given: NDArray[np.int64],
    mended: NDArray[np.int64],
    *,
    confidence: float,
) -> MendedAccuracy:
    """Compare the accuracies of the same predictions under two sets of labels.

    The interval is paired by sample, and normal: the error of the difference is that of the mean of
    k (m - M) / mean(k) - (a - A), where a and m say whether a sample is right with the given and with the
    mended label, A and M are the two accuracies, and k is 1 for a sample that stays, else 0.

    Args:
        predicted, given: class numbers, (T,). mended: the same, -1 for a sample that is removed.
        confidence: level of the interval.

    Raises:
        ValueError: if every sample is removed.
    """
    stay = mended >= 0
    if not stay.any():
        raise ValueError("every sample is removed")
    before, after = (predicted == given).astype(float), ((predicted == mended) & stay).astype(float)
    accuracy, other = float(before.mean()), float(after[stay].mean())
    errors = np.where(stay, after - other, 0) / stay.mean() - (before - accuracy)
    step = NormalDist().inv_cdf((1 + confidence) / 2) * float(errors.std()) / len(errors) ** 0.5
    difference = other - accuracy
    return MendedAccuracy(accuracy, other, Interval(difference, difference - step, difference + step))
