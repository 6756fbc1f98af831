"""Training samples that are in the test split too, exactly or nearly: they make a test accuracy too good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from memtrack.core.labels.duplicates import Pair, Search, Vectors, near_pairs


def leaks(
    hashes: Sequence[bytes],
    first_test: int,
    seen: Mapping[str, Vectors],
    search: Search,
    *,
    ratio: float,
    neighbours: int,
) -> list[Pair]:
    """Pairs of a training sample (first) and a test sample (second) that are exact or near duplicates.

    Of many copies of one image not all pairs are listed, but every training sample with a copy in the test
    split is in a pair, and so is every test sample with a copy in the training split.

    Args:
        hashes: of the pixels of each sample, (N,); the test samples have the rows from `first_test` on.
        seen: vectors of all samples (N, numbers) by their name, such as "pixels".
        search, ratio, neighbours: see `near_pairs`. Near duplicates are found among all samples.
    """
    same: dict[bytes, list[int]] = {}
    for row, digest in enumerate(hashes):
        same.setdefault(digest, []).append(row)
    copies = {rows[0]: rows for rows in same.values()}
    close = [(row, row, Pair(row, row, 0.0, "pixels", exact=True)) for row in copies]
    distinct = np.array(sorted(copies), dtype=np.int64)
    for by, vectors in seen.items():
        for pair in near_pairs(vectors, distinct, search, by=by, ratio=ratio, neighbours=neighbours):
            close += [(pair.first, pair.second, pair), (pair.second, pair.first, pair)]
    found: dict[tuple[int, int], Pair] = {}
    for one, other, pair in close:
        train = [row for row in copies[one] if row < first_test]
        test = [row for row in copies[other] if row >= first_test]
        if not train or not test:
            continue
        for ends in [*((row, test[0]) for row in train), *((train[0], row) for row in test[1:])]:
            found.setdefault(ends, Pair(*ends, pair.distance, pair.by, pair.exact))
    return list(found.values())
