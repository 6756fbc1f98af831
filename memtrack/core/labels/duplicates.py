"""Exact and near duplicates among the samples of a data set.

Two samples are near where their distance is below a share (`ratio`) of the usual distance of a sample to its
nearest neighbour (the median over the samples where that is not 0), and of the distance of each of the two to
the furthest neighbour that is looked at: where a whole class lies close together, none of it is a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memtrack.core.images.pixels import Pixels, field_sums

Vectors = NDArray[np.float32]
FIELDS = 16
"""Images are compared at this width and height."""


@dataclass(frozen=True)
class Pair:
    """Two samples, by their rows, and their distance over the usual one; exact: the very same pixels."""

    first: int
    second: int
    distance: float
    by: str
    exact: bool = False


def thumbnails(images: Pixels) -> Vectors:
    """Images (B, channels, H, W) at most 16x16 large, of mean 0 and length 1, so that light and contrast do
    not count; (B, numbers)."""
    sums, area = field_sums(images, FIELDS)
    flat = (sums / area).astype(np.float32).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(lengths, 1e-6)


def digests(images: Pixels) -> list[bytes]:
    """A hash of the pixels of each image."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def exact_pairs(hashes: Iterable[bytes]) -> list[Pair]:
    """Each sample with the first one that has the same pixels."""
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in enumerate(hashes):
        if digest in first:
            pairs.append(Pair(first[digest], row, 0.0, "pixels", exact=True))
        first.setdefault(digest, row)
    return pairs


Search = Callable[[Vectors, int], tuple[Vectors, NDArray[np.int64]]]
"""The distances and rows, (N, count) each, of the nearest vectors of each vector."""


def near_pairs(
    vectors: Vectors,
    distinct: NDArray[np.int64],
    search: Search,
    *,
    by: str,
    ratio: float,
    neighbours: int,
) -> list[Pair]:
    """The pairs of samples whose vectors are nearer to each other than `ratio` times the usual, here
    and everywhere.

    Args:
        vectors: (N, numbers).
        distinct: the rows that are compared, one for each group of samples that are the same; vectors of
            nothing but 0 (an image of one colour) are left out.
        search: finds the nearest neighbours; a row of -1 is none.
        by: what the vectors are, to be said of the pairs.
        neighbours: so many nearest ones of each sample are looked at.
    """
    distinct = distinct[(vectors[distinct] != 0).any(axis=1)]
    compared = np.ascontiguousarray(vectors[distinct])
    if len(compared) < 2:
        return []
    distances, found = search(compared, min(neighbours + 1, len(compared)))
    own = found == np.arange(len(compared))[:, None]
    distances = np.where(own | (found < 0), np.inf, distances)
    nearest = distances.min(axis=1)
    nearest = nearest[(nearest > 0) & (nearest < np.inf)]
    if not len(nearest):
        return []
    usual = float(np.median(nearest))
    around = np.where(distances < np.inf, distances, 0).max(axis=1)
    around = np.minimum(np.where(around > 0, around, usual), usual)
    rows, columns = np.nonzero(distances < ratio * np.minimum(around[:, None], around[found]))
    pairs = {}
    for row, column in zip(rows, columns, strict=True):
        low, high = sorted((int(distinct[row]), int(distinct[found[row, column]])))
        pairs[low, high] = Pair(low, high, float(distances[row, column]) / usual, by)
    return list(pairs.values())


def groups(pairs: Iterable[Pair], count: int) -> NDArray[np.int64]:
    """For each of `count` samples the number of its group, from 0; -1 for one without duplicates."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array([(pair.first, pair.second) for pair in pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    sizes = np.bincount(component, minlength=1)
    numbers = np.full(len(sizes), -1)
    several = np.flatnonzero(sizes > 1)
    numbers[several] = np.arange(len(several))
    return numbers[component]
