"""Nearest neighbours of many vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 50_000
"""Up to this many vectors, all pairs are compared; above, an index searches only some of them (IVF)."""


def nearest_neighbours(
    vectors: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The distances and rows, (N, count) each, of the nearest vectors of each vector. Usually the vector
    itself is among them. The row is -1 where the index found fewer.

    Args:
        vectors: (N, dimensions), in C order.
    """
    import faiss  # the import takes a moment, and most stages do not need it

    if len(vectors) <= EXACT_UP_TO:
        squares, found = faiss.knn(vectors, vectors, count)
    else:
        cells = int(4 * len(vectors) ** 0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], cells)
        index.nprobe = 8
        index.train(vectors)
        index.add(vectors)
        squares, found = index.search(vectors, count)
    return np.sqrt(np.maximum(squares, 0)), found
