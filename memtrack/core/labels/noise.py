"""Label noise: functions that take the labels and return the given labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from memtrack.core.images.fields import field_sums
from memtrack.core.images.pixels import Pixels

Labels = NDArray[np.int64]
Distances = NDArray[np.float64]
Seed = int | Sequence[int]


def symmetric(labels: Labels, *, classes: int, rate: float, seed: Seed) -> Labels:
    """Give round(rate N) samples a label drawn uniformly from the other classes.

    The samples are drawn without replacement, so the count is exact. The same seed gives the same
    labels on every machine (NumPy's PCG64).

    Args:
        labels: int64 (N,), from 0 to classes - 1, in id order.
        classes: >= 2.
        rate: share of the samples in [0, 1).
        seed: >= 0, or several numbers >= 0.

    Returns:
        int64 (N,), a new array.

    Raises:
        ValueError: if rate or classes are out of range.
    """
    _check(rate, classes)
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = generator.permutation(len(labels))[: round(rate * len(labels))]
    given = labels.copy()
    given[chosen] = _other(labels[chosen], classes, generator)
    return given


def pair(labels: Labels, *, partners: Labels, rate: float, seed: Seed) -> Labels:
    """Give round(rate M) samples the label of their class's partner. M samples have a class with a partner.

    Args:
        labels: as in `symmetric`.
        partners: int64 (C,), for each class the label that it is mistaken for. A class without a partner has
            itself.
        rate, seed: as in `symmetric`.

    Source: pair flipping, Han et al., NeurIPS 2018 (Co-teaching), section 4.
    """
    _check(rate, len(partners))
    generator = np.random.Generator(np.random.PCG64(seed))
    mistakable = np.flatnonzero(partners[labels] != labels)
    chosen = generator.permutation(mistakable)[: round(rate * len(mistakable))]
    given = labels.copy()
    given[chosen] = partners[labels[chosen]]
    return given


def confusion(labels: Labels, *, matrix: NDArray[np.float64], seed: Seed) -> Labels:
    """Draw each sample's label independently from its class's row of `matrix`.

    Args:
        labels: as in `symmetric`.
        matrix: (C, C), P(given label | label), every row summing to 1.
        seed: as in `symmetric`.

    Raises:
        ValueError: if `matrix` is not square, has a negative entry, or a row that does not sum to 1.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"the matrix is {'x'.join(map(str, matrix.shape))}: it should be square")
    wrong = np.flatnonzero((matrix < 0).any(axis=1) | (abs(matrix.sum(axis=1) - 1) > 1e-6))
    if len(wrong):
        raise ValueError(f"row {wrong[0] + 1} of the matrix should hold shares of at least 0 that sum to 1")
    drawn = np.random.Generator(np.random.PCG64(seed)).random(len(labels))
    below = np.cumsum(matrix, axis=1)[:, :-1]  # beyond the last boundary is the last class
    return (drawn[:, None] >= below[labels]).sum(axis=1).astype(np.int64)


def random_labels(labels: Labels, *, classes: int, seed: Seed) -> Labels:
    """Give every sample a label drawn uniformly from all classes, including its own.

    Source: Zhang et al., ICLR 2017, section 2.1 ("random labels").
    """
    return np.random.Generator(np.random.PCG64(seed)).integers(0, classes, len(labels))


def instance_dependent(labels: Labels, distances: NDArray[np.float64], *, rate: float, seed: Seed) -> Labels:
    """Give round(rate N) samples the label of the nearest other class. Harder samples are drawn more often.

    A sample is harder the nearer it lies to the mean of another class, compared with the mean of its own.
    Samples are drawn without replacement, with probability proportional to their rank in hardness (1 for the
    easiest, N for the hardest), so that both easy and hard samples are drawn.

    Args:
        labels: as in `symmetric`.
        distances: (N, C), from each sample to the mean of each class; see `class_distances`.
        rate, seed: as in `symmetric`.

    Source: our own. It flips labels by a classifier's confusions, as in Chen et al., AAAI 2021. The
    classifier is the nearest class mean: nothing has to be trained and every machine draws the same labels.
    """
    _check(rate, distances.shape[1])
    rows = np.arange(len(labels))
    others = distances.copy()
    others[rows, labels] = np.inf
    nearest = others.argmin(axis=1)
    margin = others[rows, nearest] - distances[rows, labels]
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[np.argsort(-margin, kind="stable")] = rows + 1
    generator = np.random.Generator(np.random.PCG64(seed))
    count = round(rate * len(labels))
    given = labels.copy()
    if count == 0:
        return given
    chosen = generator.choice(rows, count, replace=False, p=ranks / ranks.sum())
    given[chosen] = nearest[chosen]
    return given


def class_distances(images: Callable[[], Iterable[Pixels]], labels: Labels, *, classes: int) -> Distances:
    """The squared distance from each image, shrunk to 8x8, to the mean image of each class, (N, C).

    They are computed from integers, so every machine finds the same distances.

    Args:
        images: returns the images uint8 (B, channels, H, W) in chunks, starting from the first at each call.
        labels: int64 (N,). The distance to a class without images is infinite.
    """
    counts = np.bincount(labels, minlength=classes)
    sums: NDArray[np.int64] | None = None
    start = 0
    for chunk in images():
        small = _shrunk(chunk)
        sums = np.zeros((classes, small.shape[1]), dtype=np.int64) if sums is None else sums
        np.add.at(sums, labels[start : start + len(small)], small)
        start += len(small)
    if sums is None:
        return np.empty((0, classes))
    filled = np.maximum(counts, 1)
    squares = np.array([math.fsum(row) for row in (sums / filled[:, None]) ** 2])
    parts = []
    for chunk in images():
        small = _shrunk(chunk)
        parts.append((small**2).sum(axis=1)[:, None] - 2 * (small @ sums.T) / filled + squares)
    return np.where(counts, np.concatenate(parts), np.inf)


def _shrunk(images: Pixels) -> NDArray[np.int64]:
    """The means of 8x8 fields of images (B, channels, H, W), rounded down so that sums over a million images
    still fit; (B, numbers)."""
    sums, area = field_sums(images, 8)
    return (sums // area).reshape(len(images), -1)


def conflicting_duplicates(labels: Labels, *, classes: int, rate: float, seed: Seed) -> tuple[Labels, Labels]:
    """Copy round(rate N) samples under another label, drawn uniformly from the other classes.

    Returns:
        the rows of the copied samples, ascending, and the labels of the copies; both int64 (round(rate N),).

    Source: Garg, Ravikumar & Roy, ICML 2024, section 5 (duplicates with differing labels). They are injected
    as in Ravikumar et al., ICML 2025, Table 3.
    """
    _check(rate, classes)
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = np.sort(generator.permutation(len(labels))[: round(rate * len(labels))])
    return chosen, _other(labels[chosen], classes, generator)


def _other(labels: Labels, classes: int, generator: np.random.Generator) -> Labels:
    """For each label, another label drawn uniformly."""
    return (labels + generator.integers(1, classes, size=len(labels))) % classes


def _check(rate: float, classes: int) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"rate is {rate}: it should be at least 0 and below 1")
    if classes < 2:
        raise ValueError(f"classes is {classes}: it should be at least 2")


def transition_counts(clean: Labels, given: Labels, *, classes: int) -> NDArray[np.int64]:
    """How many samples of each clean class (row) have each given label (column), (C, C)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (clean, given), 1)
    return counts
