"""Images as arrays of pixels, uint8 (B, channels, H, W): how to randomize them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
How = Literal["shuffled", "random", "gaussian"]


@dataclass(frozen=True)
class RandomizedPixels:
    """How the pixels of every image are randomized.

    shuffled: one permutation of the pixels for all images, including the test split; the channels of a pixel
    stay together. random: a different permutation for each image. gaussian: independent normal pixels with
    the training images' mean and standard deviation of each channel, rounded and clipped to 0 to 255.

    Attributes:
        how: one of the above.
        seed: random numbers for an image are drawn from (seed, its row).
        mean, std: mean and standard deviation of each channel of the training images, pixels in [0, 1].

    Source: Zhang et al., ICLR 2017, section 2.1.
    """

    how: How
    seed: int
    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, images: Pixels, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Randomize the images uint8 (B, channels, H, W) with the row numbers `rows` (B,)."""
        count, channels, height, width = images.shape
        flat = images.reshape(count, channels, height * width)
        if self.how == "shuffled":
            return flat[:, :, self._generator().permutation(height * width)].reshape(images.shape)
        randomized = np.empty_like(flat)
        for index, row in enumerate(rows):
            generator = self._generator(int(row))
            if self.how == "random":
                randomized[index] = flat[index][:, generator.permutation(height * width)]
            else:
                drawn = generator.standard_normal((channels, height * width))
                values = 255 * (np.array(self.mean)[:, None] + np.array(self.std)[:, None] * drawn)
                randomized[index] = np.clip(np.rint(values), 0, 255)
        return randomized.reshape(images.shape)

    def _generator(self, *numbers: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, *numbers]))
