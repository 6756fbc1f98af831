"""Images cut into fields, to compare them at a small size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memtrack.core.images.pixels import Pixels


def field_sums(images: Pixels, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut each image into at most `most` x `most` fields.

    Returns:
        the sum of the pixels of each field, (B, channels, rows, columns), and their number, (rows, columns).
        The features of vectors are rounded.
    """
    sums: NDArray[np.integer] = images if images.dtype == np.uint8 else np.rint(images)
    area = np.ones((), dtype=np.int64)
    for axis in (2, 3):
        size = images.shape[axis]
        starts = np.arange(min(most, size)) * size // min(most, size)
        sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.int64)
        area = np.multiply.outer(area, np.diff([*starts, size]))
    return sums.astype(np.int64, copy=False), area
