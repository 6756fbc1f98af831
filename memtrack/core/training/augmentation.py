"""Random shifts and mirror images of training images, on their device."""

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
        """Change a batch (B, channels, height, width), contiguous or channels-last; the result is likewise.

        Random numbers are drawn on the CPU, and a GPU is not waited for."""
        if not self.crop and not self.flip:
            return images
        count, channels, height, width = images.shape
        draws = torch.zeros(3, count, dtype=torch.int64)  # rows down, columns to the right, mirrored
        if self.crop:
            draws[:2] = torch.randint(0, 2 * self.crop + 1, (count, 2), generator=generator).T
        if self.flip:
            draws[2] = torch.rand(count, generator=generator) < 0.5
        if images.device.type == "cuda":
            draws = draws.pin_memory()
        top, left, mirrored = draws.to(images.device, non_blocking=True)[:, :, None]
        rows = torch.arange(height, device=images.device) + top
        columns = torch.arange(width, device=images.device)
        columns = torch.where(mirrored > 0, columns.flip(0), columns) + left
        padded = pad(images, [self.crop] * 4) if self.crop else images
        pixels = (rows[:, :, None] * padded.shape[3] + columns[:, None]).flatten(1)  # (B, height x width)
        if images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
            places = pixels[:, :, None].expand(-1, -1, channels)
            last = padded.permute(0, 2, 3, 1).flatten(1, 2).gather(1, places)
            return last.view(count, height, width, channels).permute(0, 3, 1, 2)
        places = pixels[:, None].expand(-1, channels, -1)
        return padded.flatten(2).gather(2, places).view(count, channels, height, width)
