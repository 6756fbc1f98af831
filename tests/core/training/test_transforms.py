"""Transforms of batches, against torchvision applied to one image at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kstest
from torchvision.transforms import v2

from memtrack.config.sections.augment import REFUSED, TRANSFORMS
from memtrack.core.training.transforms import Transforms

NEEDED: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": [20, 90]}, "GaussianBlur": {"kernel_size": 3}, "RandomAffine": {"degrees": 20},
    "ElasticTransform": {"sigma": 1.0},
    "RandomAdjustSharpness": {"sharpness_factor": 2}, "RandomCrop": {"size": [9, 11], "padding": 2},
    "RandomPosterize": {"bits": 2}, "RandomResizedCrop": {"size": [9, 11]},
    "RandomRotation": {"degrees": 30}, "RandomSolarize": {"threshold": 100},
}  # fmt: skip
"""Options of the transforms that cannot be made without any."""
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 9, 11), dtype=np.uint8)
ROWS = np.array([5, 0, 17, 3, 2, 40])


def made(name: str, **options: Any) -> v2.Transform:
    transform: v2.Transform = getattr(v2, name)(**NEEDED.get(name, {}), **options)
    return transform


def seed_of(seed: int, epoch: int, row: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, row]).generate_state(1)[0])


def test_each_transform_of_torchvision_is_known() -> None:
    kinds = {
        name for name, kind in vars(v2).items()
        if isinstance(kind, type) and issubclass(kind, v2.Transform) and kind is not v2.Transform
    }  # fmt: skip
    refused = [name for names in REFUSED.values() for name in names]
    assert sorted(kinds) == sorted([*TRANSFORMS, *refused])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_batch_is_what_torchvision_makes_of_each_image(name: str) -> None:
    before, state = IMAGES.copy(), torch.get_rng_state()
    found = Transforms([made(name)], seed=7)(IMAGES, ROWS, 3)
    assert (before == IMAGES).all()
    assert torch.equal(state, torch.get_rng_state())
    for image, row, changed in zip(IMAGES, ROWS.tolist(), found, strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(7, 3, row))
            assert (made(name)(torch.from_numpy(image)).numpy() == changed).all()


def test_several_are_applied_in_order() -> None:
    both = [v2.RandomSolarize(100, p=1), v2.RandomInvert(p=1)]
    forth, back = (Transforms(order, seed=0)(IMAGES, ROWS, 1) for order in (both, both[::-1]))
    assert (forth == 255 - np.where(IMAGES >= 100, 255 - IMAGES, IMAGES)).all()
    assert (back == np.where(255 - IMAGES >= 100, IMAGES, 255 - IMAGES)).all()


def many(transform: v2.Transform, epoch: int, seed: int = 0) -> NDArray[np.uint8]:
    """What becomes of 500 grey images."""
    grey = np.full((500, 3, 4, 4), 100, dtype=np.uint8)
    grey[:, :, :, 0] = 50  # the left column is darker
    return Transforms([transform], seed=seed)(grey, np.arange(500), epoch)


def test_each_image_has_its_own_random_numbers() -> None:
    """Brightness is uniform over its range, and independent between images, epochs and seeds."""
    jitter = v2.ColorJitter(brightness=(0.5, 1.5))
    factors = [many(jitter, epoch, seed)[:, 0, 0, 3] / 100 for epoch, seed in ((1, 0), (2, 0), (1, 1))]
    for values in factors:
        assert kstest(values, "uniform", (0.5, 1)).pvalue > 0.001
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.15
    assert np.abs(np.corrcoef(factors) - np.eye(3)).max() < 0.15
    mirrored = many(v2.RandomHorizontalFlip(0.3), 1)[:, 0, 0, 3] == 50
    assert 110 <= mirrored.sum() <= 190


def test_an_image_depends_on_no_other() -> None:
    transforms = Transforms([made("RandAugment"), made("RandomErasing")], seed=2)
    together = transforms(IMAGES, ROWS, 5)
    for parts in ([0, 3], [1]), ([2], [5, 4]):
        for part in parts:
            assert (transforms(IMAGES[part], ROWS[part], 5) == together[part]).all()
    assert (transforms(IMAGES, ROWS, 6) != together).any()


def test_the_global_seeds_change_nothing() -> None:
    transforms = Transforms([made(name) for name in TRANSFORMS], seed=2)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        found.append(transforms(IMAGES, ROWS, 5))
    assert (found[0] == found[1]).all()


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 9, 11\) became \(3, 2, 2\)"):
        Transforms([v2.Resize((2, 2))], seed=0)(IMAGES, ROWS, 1)
