"""Random changes to images by torchvision's transforms, before the images are normalized."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memtrack.core.images.pixels import Pixels


class Transforms:
    """Applies transforms of single images to batches.

    Each image has its own random numbers, drawn from (seed, epoch, row) alone: they depend neither on the
    batch nor on the process or device that trains. Torch's global generator of the CPU, which the transforms
    draw from, is put back afterwards, so only one thread of a process may call this at a time.

    Args:
        transforms: applied in this order. Each takes and returns an image, uint8 (channels, H, W), like those
            of torchvision.transforms.v2. They must be picklable, because worker processes call them.
    """

    def __init__(self, transforms: Sequence[Callable[[Tensor], Tensor]], *, seed: int) -> None:
        self._transforms, self._seed = tuple(transforms), seed

    def __call__(self, images: Pixels, rows: NDArray[np.int64], epoch: int) -> Pixels:
        """Change images uint8 (B, channels, H, W) of the samples `rows` (B,) for an epoch, in a new array.

        Raises:
            ValueError: if a transform changes the shape of an image.
        """
        changed = np.empty_like(images)
        with torch.random.fork_rng(devices=[]):
            for number, row in enumerate(rows.tolist()):
                seed = int(np.random.SeedSequence([self._seed, epoch, row]).generate_state(1)[0])
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU as well
                image = torch.from_numpy(images[number])
                for transform in self._transforms:
                    image = transform(image)
                if image.shape != images.shape[1:]:
                    raise ValueError(f"{images.shape[1:]} became {tuple(image.shape)}")
                changed[number] = image.numpy()
        return changed
