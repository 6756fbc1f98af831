"""Images as arrays of pixels, uint8 (B, channels, H, W): how to randomize them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""Or feature vectors (B, features, 1, 1), float32, on the scale of pixels; see `as_pixels`."""
MIDDLE, UNIT = 127.5, 32
"""What a feature of 0, and of one standard deviation more, is on the scale of pixels."""
CONSTANT = 1e-9
"""A feature whose standard deviation is a smaller share of its largest value is constant but for rounding."""
LARGEST = 1e100
"""The largest feature: the squares of larger ones are infinite."""
CELLS = 32
"""The width and height of the picture of a vector, in pixels, or a little less."""


def is_vector(shape: Sequence[int]) -> bool:
    """Whether samples of this shape, (channels, H, W), are feature vectors."""
    return tuple(shape[1:]) == (1, 1)


def dtype_of(shape: Sequence[int]) -> np.dtype[Any]:
    """How samples of this shape are kept: images as uint8, vectors as float32."""
    return np.dtype(np.float32 if is_vector(shape) else np.uint8)


def as_pixels(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Feature vectors (N, features) as (N, features, 1, 1) on the scale of pixels: each feature has the mean
    127.5 and the standard deviation 32. So what is made for pixels, such as `Normalization`, serves for them,
    too. Nothing is rounded or clipped."""
    values = np.asarray(vectors, dtype=np.float64)
    mean, spread = moments(values)
    scaled = np.where(np.isnan(spread), 0, (values - mean) / np.nan_to_num(spread, nan=1))
    return (MIDDLE + UNIT * scaled).astype(np.float32)[:, :, None, None]


def moments(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature of vectors (N, features). The deviation of a feature that
    is constant but for rounding is NaN: divided by it, other values would be huge."""
    spread = vectors.std(axis=0)
    constant = spread <= CONSTANT * np.abs(vectors).max(axis=0)
    return vectors.mean(axis=0), np.where(constant, np.nan, spread)


def pictures(images: Pixels) -> Pixels:
    """What people are shown, uint8 (B, channels, H, W): the images, or a grey cell for each feature of a
    vector, row by row. A bright cell is above the average."""
    if not is_vector(images.shape[1:]):
        return images
    count, features = images.shape[:2]
    side = math.ceil(math.sqrt(features))
    cells = np.zeros((count, side * side), dtype=np.uint8)
    cells[:, :features] = np.clip(np.rint(images[:, :, 0, 0]), 0, 255)
    enlarged = max(1, CELLS // side)
    square = cells.reshape(count, 1, side, side)
    return square.repeat(enlarged, axis=2).repeat(enlarged, axis=3)


def picture_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of what `pictures` shows of a sample of this shape."""
    return pictures(np.zeros((1, *shape), dtype=dtype_of(shape))).shape[1:]


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
