"""Randomized pixels, against what Zhang et al. (2017) say of each kind."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.images.pixels import How, Pixels, RandomizedPixels

KINDS: tuple[How, ...] = ("shuffled", "random", "gaussian")


@pytest.fixture
def images() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (6, 3, 9, 7), dtype=np.uint8)


def made(how: How, images: Pixels, rows: list[int] | None = None, seed: int = 0) -> Pixels:
    randomized = RandomizedPixels(how, seed, mean=(0.2, 0.5, 0.7), std=(0.05, 0.1, 0.05))
    return randomized(images, rows if rows is not None else list(range(len(images))))


@pytest.mark.parametrize("how", KINDS)
def test_shape_type_and_input_stay(how: How, images: Pixels) -> None:
    before = images.copy()
    found = made(how, images)
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    assert (images == before).all()
    assert (found != images).any()


@pytest.mark.parametrize("how", ["shuffled", "random"])
def test_pixels_move_and_keep_their_channels_together(how: How, images: Pixels) -> None:
    for image, moved in zip(images, made(how, images), strict=True):
        before = sorted(map(tuple, image.reshape(3, -1).T.tolist()))
        assert sorted(map(tuple, moved.reshape(3, -1).T.tolist())) == before


def permutations(how: How) -> list[list[int]]:
    """Where the pixels of five images come from."""
    numbered = np.tile(np.arange(63, dtype=np.uint8).reshape(1, 1, 9, 7), (5, 1, 1, 1))
    return [image.ravel().tolist() for image in made(how, numbered)]


def test_shuffled_moves_all_images_alike() -> None:
    assert len({tuple(moved) for moved in permutations("shuffled")}) == 1


def test_random_moves_each_image_in_its_own_way() -> None:
    assert len({tuple(moved) for moved in permutations("random")}) == 5


def test_gaussian_does_not_depend_on_the_image(images: Pixels) -> None:
    assert (made("gaussian", images) == made("gaussian", 255 - images)).all()


def test_gaussian_has_the_mean_and_the_deviation_of_the_data() -> None:
    found = made("gaussian", np.zeros((50, 3, 32, 32), dtype=np.uint8)) / 255
    assert found.mean(axis=(0, 2, 3)) == pytest.approx([0.2, 0.5, 0.7], abs=2e-3)
    assert found.std(axis=(0, 2, 3)) == pytest.approx([0.05, 0.1, 0.05], abs=2e-3)


@pytest.mark.parametrize("how", KINDS)
def test_what_becomes_of_an_image_hangs_on_its_row_and_the_seed(how: How, images: Pixels) -> None:
    whole = made(how, images)
    assert (made(how, images[[4, 1]], rows=[4, 1]) == whole[[4, 1]]).all()
    assert (made(how, images, seed=1) != whole).any()
