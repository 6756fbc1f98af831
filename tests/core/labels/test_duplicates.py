"""Duplicates that were put there must be found, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from memtrack.core.images.pixels import Pixels
from memtrack.core.labels.duplicates import Pair, digests, exact_pairs, groups, near_pairs, thumbnails
from memtrack.core.recording.features import features
from memtrack.data import neighbours
from memtrack.data.neighbours import nearest_neighbours

EXACT, NEAR = [(3, 500), (700, 42)], [(10, 901), (250, 251)]


@pytest.fixture(scope="module")
def images() -> Pixels:
    """A thousand images of blobs; two are copied, two slightly changed (noise, darker)."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(30, 226, (1000, 3, 4, 4))
    made = np.repeat(np.repeat(coarse, 5, axis=2), 5, axis=3)
    made = np.clip(made + generator.integers(-20, 21, made.shape), 0, 255).astype(np.uint8)
    for original, copy in EXACT:
        made[copy] = made[original]
    (noisy, of), (dark, bright) = NEAR
    made[noisy] = np.clip(made[of] + generator.integers(-6, 7, made[of].shape), 0, 255)
    made[dark] = (made[bright] * 0.7).astype(np.uint8)
    return made


def found(images: Pixels, ratio: float = 0.4) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    exact = exact_pairs(digests(images))
    distinct = np.setdiff1d(np.arange(len(images)), [pair.second for pair in exact])
    near = near_pairs(
        thumbnails(images), distinct, nearest_neighbours, by="pixels", ratio=ratio, neighbours=5
    )
    return tuple({(pair.first, pair.second) for pair in pairs} for pairs in (exact, near))  # type: ignore[return-value]


def test_two_exact_and_two_near_duplicates_among_a_thousand(images: Pixels) -> None:
    exact, near = found(images)
    assert exact == {tuple(sorted(pair)) for pair in EXACT}
    assert near == {tuple(sorted(pair)) for pair in NEAR}


@pytest.mark.parametrize("dimensions", [64, 1000])
def test_an_index_for_many_samples_finds_them_too(
    dimensions: int, images: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the principal components of their 768 numbers and without."""
    exact, near = found(images)
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 100)
    monkeypatch.setattr(neighbours, "DIMENSIONS", dimensions)
    assert found(images) == (exact, near)


def test_a_class_that_lies_close_together_is_no_group_of_duplicates(images: Pixels) -> None:
    generator = np.random.default_rng(5)
    alike = np.clip(images[600] + generator.integers(-9, 10, (40, *images.shape[1:])), 0, 255).astype(
        np.uint8
    )
    exact, near = found(np.concatenate([images, alike]))
    assert (exact, near) == found(images)


def test_no_near_ones_are_asked_for(images: Pixels) -> None:
    assert found(images, ratio=0)[1] == set()


def test_distances_are_those_of_all_pairs(images: Pixels) -> None:
    """The usual distance is the median over samples of the least distance to another one."""
    vectors = thumbnails(images[:200]).astype(np.float64)
    every = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(every, np.inf)
    usual = np.median(every.min(axis=1))
    pairs = near_pairs(
        thumbnails(images[:200]), np.arange(200), nearest_neighbours, by="pixels", ratio=1.0, neighbours=20
    )
    limit = np.minimum(usual, np.sort(every, axis=1)[:, 19])
    near = every < np.minimum.outer(limit, limit)
    expected = {(i, j): every[i, j] / usual for i, j in zip(*np.nonzero(near), strict=True) if i < j}
    assert {(pair.first, pair.second) for pair in pairs} == set(expected)
    for pair in pairs:
        assert pair.distance == pytest.approx(expected[pair.first, pair.second], rel=1e-3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 5, 40)])
def test_light_and_contrast_do_not_count(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(1).integers(0, 120, (4, *shape)).astype(np.uint8)
    assert thumbnails(images) == pytest.approx(thumbnails(images * 2 + 10), abs=1e-5)
    assert np.linalg.norm(thumbnails(images), axis=1) == pytest.approx(1)


def test_an_image_of_one_colour_is_no_error() -> None:
    images = np.full((3, 1, 8, 8), 7, dtype=np.uint8)
    assert np.isfinite(thumbnails(images)).all()
    assert found(images) == ({(0, 1), (0, 2)}, set())


def test_images_of_one_colour_are_no_near_duplicates() -> None:
    images = np.repeat(np.arange(40, dtype=np.uint8), 64).reshape(40, 1, 8, 8)
    assert found(images) == (set(), set())


def test_a_grey_level_brighter_is_near_and_not_exact(images: Pixels) -> None:
    changed = images[:200].copy()
    changed[7] = changed[8] + 1
    assert found(changed) == (set(), {(7, 8)})


@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_samples(count: int) -> None:
    vectors = np.eye(3, dtype=np.float32)[:count]
    assert (
        near_pairs(vectors, np.arange(count), nearest_neighbours, by="pixels", ratio=0.4, neighbours=5) == []
    )


def test_groups_are_what_hangs_together() -> None:
    pairs = [Pair(5, 1, 0, "pixels", True), Pair(1, 7, 0.2, "features"), Pair(2, 3, 0, "pixels", True)]
    assert groups(pairs, 8).tolist() == [-1, 0, 1, 1, -1, 0, -1, 0]
    assert groups([], 3).tolist() == [-1, -1, -1]


def test_features_are_what_the_last_linear_layer_gets() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU())
    model = nn.Sequential(body, nn.Dropout(0.5), nn.Linear(7, 3))
    inputs, labels = torch.randn(10, 3, 2, 2), torch.zeros(10, dtype=torch.int64)
    batches = list(zip(inputs.split(4), labels.split(4), strict=True))
    seen = np.concatenate(list(features(model, batches)))
    assert seen == pytest.approx(body(inputs).detach().numpy())
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    convolutional = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten())
    assert next(features(convolutional, batches)) == pytest.approx(convolutional(inputs[:4]).detach().numpy())
