"""Nearest neighbours of many vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
EXACT_UP_TO = 50_000
"""Up to this many vectors, all pairs are compared; above, an index searches only some of them (IVF)."""
LEARNT_FROM, PROBES = 64, 8
"""The index learns each of its cells from so many vectors, and searches so many cells for each vector."""
DIMENSIONS, SAMPLE = 64, 50_000
"""Longer vectors are compared in the index by so many principal components, those of so many vectors."""
CHUNK = 10_000


def nearest_neighbours(
    vectors: Vectors, count: int, queries: Vectors | None = None
) -> tuple[Vectors, NDArray[np.int64]]:
    """The distances and rows, (M, count) each, of the vectors that are nearest to each query. The row is -1
    where the index found fewer.

    Args:
        vectors: (N, dimensions), in C order. queries: (M, dimensions); None: the vectors. Usually each is
            among its own nearest vectors then.
    """
    import faiss  # the import takes a moment, and most stages do not need it

    queries = vectors if queries is None else queries
    if len(vectors) <= EXACT_UP_TO:
        squares, found = faiss.knn(queries, vectors, count)
    elif vectors.shape[1] <= DIMENSIONS:
        squares, found = _indexed(vectors, queries, count)
    else:
        shorter = _principal_components(vectors)
        of_vectors = shorter(vectors)
        of_queries = of_vectors if queries is vectors else shorter(queries)
        _, found = _indexed(of_vectors, of_queries, 2 * count)
        squares, found = _nearest_of(vectors, queries, found, count)
    return np.sqrt(np.maximum(squares, 0)), found


def _indexed(vectors: Vectors, queries: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64]]:
    """The squared distances and the rows that an index finds."""
    import faiss

    size, cells = vectors.shape[1], int(4 * len(vectors) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, cells)
    index.nprobe = PROBES
    index.cp.max_points_per_centroid = LEARNT_FROM
    index.train(vectors)
    index.add(vectors)
    return index.search(queries, count)


def _principal_components(vectors: Vectors) -> Callable[[Vectors], Vectors]:
    """What makes vectors shorter, so that their distances are nearly the same, and never greater."""
    import faiss

    some = np.random.default_rng(0).choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    components = faiss.PCAMatrix(vectors.shape[1], DIMENSIONS)
    components.train(vectors[np.sort(some)])
    return cast(Callable[[Vectors], Vectors], components.apply)


def _nearest_of(
    vectors: Vectors, queries: Vectors, rows: NDArray[np.int64], count: int
) -> tuple[Vectors, NDArray[np.int64]]:
    """The squared distances and the rows of the nearest among some rows (M, candidates) of each query."""
    squares = np.full((len(rows), count), np.inf, dtype=np.float32)
    found = np.full((len(rows), count), -1, dtype=np.int64)
    for start in range(0, len(rows), CHUNK):
        here = slice(start, start + CHUNK)
        apart = np.stack([
            np.square(vectors[candidates] - queries[here]).sum(axis=1) for candidates in rows[here].T
        ], axis=1)  # fmt: skip
        apart[rows[here] < 0] = np.inf
        order = np.argpartition(apart, count - 1, axis=1)[:, :count]
        squares[here] = np.take_along_axis(apart, order, axis=1)
        found[here] = np.take_along_axis(rows[here], order, axis=1)
    return squares, found
