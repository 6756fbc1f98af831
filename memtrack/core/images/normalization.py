"""What a network sees of an image: pixels in [0, 1], normalized channel by channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalization:
    """Pixels to inputs: (pixel / 255 - mean) / std of the pixel's channel.

    Args:
        mean, std: of each channel of the training images, pixels in [0, 1].
        device: where the inputs are to be.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.device = device
        self._mean, self._std = (torch.tensor(list(values), device=device) for values in (mean, std))

    def __call__(self, images: Tensor) -> Tensor:
        """Images uint8 (B, channels, ...) as inputs float32 of the same shape, on the device."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        return (images.to(self.device).float() / 255 - self._mean.view(shape)) / self._std.view(shape)
