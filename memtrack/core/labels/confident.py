"""Confident learning: how many labels are wrong, by networks that never saw the samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
ROUNDING = 1e-6
"""A probability that is so little below a threshold reaches it."""


def confident_thresholds(labels: NDArray[np.int64], probabilities: Values) -> Values:
    """The mean probability of each class over the samples with this given label, (C,); infinite for a class
    without samples.

    Args:
        labels: given labels (N,). probabilities: (N, C), of networks that never saw the sample.
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probabilities.shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def confident_joint(labels: NDArray[np.int64], probabilities: Values) -> Values:
    """The estimated number of samples with each given label (row) and true label (column), (C, C). Outside of
    the diagonal are the wrong labels.

    A sample counts for the most probable of the classes whose probability reaches its threshold, if there is
    one. Each row is then scaled to the number of samples with the given label.

    Source: Northcutt, Jiang & Chuang, JAIR 2021, equations 1 to 3.
    """
    classes = probabilities.shape[1]
    reached = probabilities >= confident_thresholds(labels, probabilities) - ROUNDING
    counted = reached.any(axis=1)
    guessed = np.where(reached, probabilities, -1).argmax(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[counted], guessed[counted]), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    scaled: Values = joint / joint.sum(axis=1, keepdims=True)
    return scaled * np.bincount(labels, minlength=classes)[:, None]
