"""Labels flipped on purpose, on top of those that are given, to learn how wrong labels look.

The flips imitate the errors that the labels have already: a class is flipped to those that it is confused
with. No clean label is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memtrack.core.labels.noise import Labels

OWN = 0.5
"""Half of the probability of a new label follows the confusions of the class, half those of the sample."""


def confusions(given: Labels, predicted: Sequence[NDArray[np.integer]], *, classes: int) -> NDArray[np.int64]:
    """How often samples with a given label (row) are predicted as each class (column), (C, C).

    Args:
        given: int64 (N,). predicted: the predicted classes in each epoch, each (N,).
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    for found in predicted:
        np.add.at(counts, (given, found), 1)
    return counts


def flipped(
    given: Labels,
    predicted: Sequence[NDArray[np.integer]],
    trusted: NDArray[np.bool_],
    *,
    classes: int,
    share: float,
    seed: int | Sequence[int],
) -> Labels:
    """Give round(share N) of the `trusted` samples another label; all of them, if they are fewer.

    A label c becomes i with a probability that follows how often samples with the given label i are
    predicted as c: what looks like c and is called i shows which errors are made. Half of the probability
    follows instead how often the sample itself is predicted as i.

    Args:
        given, predicted: as in `confusions`.
        trusted: which samples may be flipped (N,). A flip of a wrong label may make it right, so these should
            be the least suspect ones.

    Returns:
        int64 (N,), a new array.

    Raises:
        ValueError: if there are fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"classes is {classes}: it should be at least 2")
    generator = np.random.Generator(np.random.PCG64(seed))
    to = _shares(confusions(given, predicted, classes=classes).T, np.arange(classes))
    candidates = np.flatnonzero(trusted)
    rows = np.sort(generator.permutation(candidates)[: round(share * len(given))])
    votes = np.zeros((len(rows), classes), dtype=np.int64)
    for found in predicted:
        votes[np.arange(len(rows)), found[rows]] += 1
    chances = (1 - OWN) * to[given[rows]] + OWN * _shares(votes, given[rows])
    below = np.cumsum(chances, axis=1)
    drawn = generator.random(len(rows)) * below[:, -1]
    new = given.copy()
    new[rows] = (drawn[:, None] >= below).sum(axis=1)
    return new


def _shares(counts: NDArray[np.int64], excluded: Labels) -> NDArray[np.float64]:
    """Each row of the counts (M, C) divided by its sum, without the class `excluded` (M,); if nothing is
    left, all other classes have the same share."""
    others = np.arange(counts.shape[1]) != excluded[:, None]
    kept = np.where(others, counts, 0).astype(np.float64)
    kept = np.where(kept.sum(axis=1, keepdims=True) > 0, kept, others)
    return kept / kept.sum(axis=1, keepdims=True)
