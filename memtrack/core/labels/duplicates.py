"""Exact and near duplicates among the samples of a data set.

Two samples are near duplicates if their distance is below `ratio` times the usual distance, and below `ratio`
times the local distance of each of the two. The usual distance is the median, over the samples, of the
distance to the nearest neighbour, without those that are 0. The local distance of a sample is the distance to
the furthest neighbour that is examined. So in a class that lies close together, no sample is a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memtrack.core.images.fields import field_sums
from memtrack.core.images.pixels import MIDDLE, UNIT, Pixels, is_vector

Vectors = NDArray[np.float32]
FIELDS = 16
"""Images are compared at this width and height."""


@dataclass(frozen=True)
class Pair:
    """Two samples, by their rows, and their distance divided by the usual one. `by` names the vectors that
    were compared; `exact` means identical pixels."""

    first: int
    second: int
    distance: float
    by: str
    exact: bool = False


def thumbnails(images: Pixels) -> Vectors:
    """Shrink images (B, channels, H, W) to at most 16x16 and scale them to mean 0 and length 1, so that
    brightness and contrast do not count; (B, numbers). Vectors stay as they are, with features
    of standard deviation 1."""
    if is_vector(images.shape[1:]):
        found: Vectors = ((images[:, :, 0, 0] - MIDDLE) / UNIT).astype(np.float32)
        return found
    sums, area = field_sums(images, FIELDS)
    flat = (sums / area).astype(np.float32).reshape(len(images), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.maximum(lengths, 1e-6)


def digests(images: Pixels) -> list[bytes]:
    """A hash of the pixels of each image."""
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def exact_pairs(hashes: Iterable[bytes]) -> list[Pair]:
    """Pair each repeated sample with the first sample that has the same pixels."""
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in enumerate(hashes):
        if digest in first:
            pairs.append(Pair(first[digest], row, 0.0, "pixels", exact=True))
        first.setdefault(digest, row)
    return pairs


Search = Callable[[Vectors, int], tuple[Vectors, NDArray[np.int64]]]
"""Finds the nearest vectors of each vector: their distances and their rows, (N, count) each."""


def near_pairs(
    vectors: Vectors,
    distinct: NDArray[np.int64],
    search: Search,
    *,
    by: str,
    ratio: float,
    neighbours: int,
) -> list[Pair]:
    """The pairs of samples whose vectors are near duplicates, as defined at the top of this module.

    Args:
        vectors: (N, numbers).
        distinct: the rows that are compared, one for each group of identical samples. Vectors of zeros only
            (an image of one colour) are left out.
        search: finds the nearest neighbours; a row of -1 means none.
        by: the name of the vectors, kept in each pair.
        neighbours: the number of nearest neighbours of each sample that are examined.
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
    """The group number of each of `count` samples, from 0; -1 for a sample without duplicates."""
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
