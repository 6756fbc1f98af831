"""Parts of the samples in which all labels are as frequent as in the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def first_half(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Which samples are in the first of two random halves, (N,). The halves differ by at most one sample, in
    all and in the samples of each label.

    Args:
        labels: of each sample, int64 (N,).
    """
    generator = np.random.Generator(np.random.PCG64([seed]))
    order = generator.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    found = np.zeros(len(labels), dtype=bool)
    found[order[generator.integers(2) :: 2]] = True
    return found
