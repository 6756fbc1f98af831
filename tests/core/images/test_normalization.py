"""Normalization, against the formula for each pixel."""

from __future__ import annotations

import pytest
import torch

from memtrack.core.images.normalization import Normalization


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 8, 8), (2, 6)])
def test_each_pixel_by_the_mean_and_deviation_of_its_channel(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, (7, *shape), dtype=torch.uint8)
    mean, std = [0.1, 0.5, 0.25][: shape[0]], [0.2, 0.3, 1.0][: shape[0]]
    found = Normalization(mean, std, torch.device("cpu"))(images)
    assert found.dtype == torch.float32
    assert found.shape == images.shape
    for channel in range(shape[0]):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(found[:, channel].double(), expected, rtol=1e-6, atol=1e-6)
