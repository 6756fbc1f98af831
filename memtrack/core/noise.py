"""Label noise: labels in, given labels out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def symmetric(labels: Labels, *, classes: int, rate: float, seed: int) -> Labels:
    """Give round(rate N) samples a label drawn uniformly from the other classes.

    The samples are drawn without replacement, so the count is exact. The same seed gives the same
    labels on every machine (NumPy's PCG64).

    Args:
        labels: int64 (N,), from 0 to classes - 1, in id order.
        classes: >= 2.
        rate: share of the samples in [0, 1).
        seed: >= 0.

    Returns:
        int64 (N,), a new array.

    Raises:
        ValueError: if rate or classes are out of range.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate is {rate}: it should be at least 0 and below 1")
    if classes < 2:
        raise ValueError(f"classes is {classes}: another label exists from 2 classes on")
    generator = np.random.Generator(np.random.PCG64(seed))
    count = round(rate * len(labels))
    chosen = generator.permutation(len(labels))[:count]
    given = labels.copy()
    given[chosen] = (labels[chosen] + generator.integers(1, classes, size=count)) % classes
    return given


def transition_counts(clean: Labels, given: Labels, *, classes: int) -> NDArray[np.int64]:
    """How many samples of each clean class (row) were given each label (column), (C, C)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (clean, given), 1)
    return counts
