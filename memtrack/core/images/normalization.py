"""The inputs of a network: the pixels of an image in [0, 1], normalized channel by channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalization:
    """Converts pixels to inputs: (pixel / 255 - mean) / std, with the mean and std of the pixel's channel.

    Args:
        mean, std: mean and standard deviation of each channel of the training images, pixels in [0, 1].
        device: the device of the inputs.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.device = device
        self._mean, self._std = (torch.tensor(list(values), device=device) for values in (mean, std))

    def __call__(self, images: Tensor) -> Tensor:
        """Convert images uint8 (B, channels, ...) to inputs float32 of the same shape, on the device."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        return (images.to(self.device).float() / 255 - self._mean.view(shape)) / self._std.view(shape)
