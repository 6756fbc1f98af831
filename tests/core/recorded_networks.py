"""`RecordedNetworks` in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn


class InMemoryNetworks:
    """Networks after the epochs 1, 2, ..., with samples that come in batches of `size`."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        inputs: Tensor,
        labels: Tensor,
        size: int = 1000,
        rates: Sequence[float] = (),
    ) -> None:
        self._networks, self._inputs, self._size, self._rates = networks, inputs, size, rates
        self.labels, self.shape = labels.numpy(), tuple(inputs.shape[1:])
        self.ids = [f"{row:05d}" for row in range(len(inputs))]
        self.epochs = tuple(range(1, len(networks) + 1))

    def models(self, epochs: Sequence[int] | None = None) -> Iterator[nn.Module]:
        for epoch in self.epochs if epochs is None else epochs:
            yield self._networks[epoch - 1]

    def learning_rate(self, epoch: int) -> float:
        return self._rates[epoch - 1]

    def batches(self, rows: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        parts = torch.from_numpy(rows).split(self._size)
        return [(self._inputs[part], torch.from_numpy(self.labels)[part]) for part in parts]
