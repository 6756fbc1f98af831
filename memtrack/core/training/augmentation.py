"""Random changes to training images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Augmentation:
    """Random shifts by up to `crop` pixels (the border is filled with zeros) and random mirror images."""

    crop: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch (B, channels, height, width). Random numbers are drawn on the CPU."""
        count, _, height, width = images.shape
        if self.crop:
            offsets = torch.randint(0, 2 * self.crop + 1, (count, 2), generator=generator)
            offsets = offsets.to(images.device)
            rows = offsets[:, 0, None] + torch.arange(height, device=images.device)
            columns = offsets[:, 1, None] + torch.arange(width, device=images.device)
            sample = torch.arange(count, device=images.device)[:, None, None]
            padded = pad(images, [self.crop] * 4)
            images = padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if self.flip:
            mirrored = torch.rand(count, generator=generator).to(images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images.contiguous()
