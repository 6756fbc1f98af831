"""Copies that were put into the test split must be found, and nothing else."""

from __future__ import annotations

import numpy as np

from memtrack.core.images.pixels import Pixels
from memtrack.core.labels.duplicates import Pair, digests, thumbnails
from memtrack.core.labels.leaks import leaks
from memtrack.data.neighbours import nearest_neighbours

FIRST_TEST = 200


def blobs() -> Pixels:
    """240 different images of blobs; the last 40 are the test split."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(30, 226, (240, 3, 4, 4))
    made = np.repeat(np.repeat(coarse, 5, axis=2), 5, axis=3)
    return np.clip(made + generator.integers(-20, 21, made.shape), 0, 255).astype(np.uint8)


def found(images: Pixels) -> dict[tuple[int, int], Pair]:
    seen = {"pixels": thumbnails(images)}
    pairs = leaks(digests(images), FIRST_TEST, seen, nearest_neighbours, ratio=0.4, neighbours=5)
    assert len({(pair.first, pair.second) for pair in pairs}) == len(pairs)
    return {(pair.first, pair.second): pair for pair in pairs}


def test_copies_in_the_test_split() -> None:
    images = blobs()
    images[210] = images[7]  # the same
    images[220] = (images[8] * 0.7).astype(np.uint8)  # darker
    images[9] = images[10]  # no test image
    images[230] = images[231]  # no training image
    pairs = found(images)
    assert pairs.keys() == {(7, 210), (8, 220)}
    assert pairs[7, 210] == Pair(7, 210, 0.0, "pixels", exact=True)
    assert not pairs[8, 220].exact
    assert 0 < pairs[8, 220].distance < 0.4


def test_of_many_copies_every_one_is_named() -> None:
    images = blobs()
    images[[4, 5]] = images[3]
    images[[201, 202]] = images[3]
    near = (images[3] * 0.7).astype(np.uint8)
    images[[6, 203]] = near
    ends = found(images).keys()
    assert {one for one, _ in ends} == {3, 4, 5, 6}
    assert {other for _, other in ends} == {201, 202, 203}


def test_a_thousand_empty_images_are_no_million_pairs() -> None:
    images = np.zeros((240, 1, 4, 4), dtype=np.uint8)
    assert len(found(images)) == FIRST_TEST + 39
