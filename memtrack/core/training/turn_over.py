"""Turn-over dropout: every sample drops the same half of the units whenever the network is trained on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
ROW, UNIT = 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9
"""Odd numbers that spread rows and units over 64 bits."""
MIXERS = ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB), (31, 1))
"""Shifts and factors that mix the bits of a number, much as in SplitMix64 (Steele et al., OOPSLA 2014)."""


class OwnMasks:
    """Masks the units of a network: each sample by a half of its own, or by the other half.

    Units are the numbers that a linear layer takes, and the channels that a convolution takes; those of the
    network's own input are masked only if there is no other layer. What is kept is doubled. So each sample
    trains a subnetwork, and the other half is a subnetwork that has never been trained on the sample.

    Attributes:
        flipped: whether the samples use the other half.

    Args:
        model: the network; it is masked within `of`. seed: a mask depends on (seed, layer, row, unit) alone.

    Source: Kobayashi, Yokoi, Suzuki & Inui, 2020, section 3.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        layers = [module for module in model.modules() if isinstance(module, LAYERS)]
        self.flipped = False
        self._rows: Tensor | None = None
        self._seed = seed
        for number, layer in enumerate(layers[1:] or layers):
            layer.register_forward_pre_hook(self._hook(number))

    @contextmanager
    def of(self, rows: NDArray[np.int64]) -> Iterator[None]:
        """Within this block a batch holds the samples with these rows, (B,). Outside, nothing is masked."""
        self._rows = torch.from_numpy(rows)
        try:
            yield
        finally:
            self._rows = None

    def following(
        self, batches: Iterable[tuple[Tensor, Tensor]], rows: Iterable[NDArray[np.int64]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches; until the next one is asked for, a batch is masked as its rows are."""
        for batch, own in zip(batches, rows, strict=True):
            with self.of(own):
                yield batch

    def _hook(self, layer: int) -> Any:
        def mask(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._rows is None:
                return None
            first, *others = inputs
            kept = halves(self._seed, layer, self._rows.to(first.device), first.shape[1]) != self.flipped
            return (first * 2 * kept.view(*kept.shape, *[1] * (first.dim() - 2)).to(first.dtype), *others)

        return mask


def halves(seed: int, layer: int, rows: Tensor, units: int) -> Tensor:
    """Which units (B, units) of a layer are in the first half of the samples with these rows, int64 (B,)."""
    start = int(np.random.SeedSequence([seed, layer]).generate_state(1, np.uint64)[0] >> 1)
    numbers = torch.arange(units, device=rows.device) * UNIT + start
    mixed = rows[:, None] * ROW + numbers
    for shift, factor in MIXERS:
        shifted = (mixed >> shift) & ((1 << (64 - shift)) - 1)
        mixed = (mixed ^ shifted) * factor
    return (mixed >> 20) & 1 == 1
