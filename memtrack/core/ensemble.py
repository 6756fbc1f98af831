"""Many networks of one kind, trained on subsets of the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.functional import cross_entropy

from memtrack.core.training import build_optimizer, build_schedule

Flags = NDArray[np.bool_]


def subset(samples: int, *, share: float, seed: int, model: int) -> Flags:
    """Which of `samples` samples model number `model` is trained on: round(share samples) of them, (N,)."""
    generator = np.random.Generator(np.random.PCG64([seed, model, 0]))
    chosen = np.zeros(samples, dtype=bool)
    chosen[generator.permutation(samples)[: round(share * samples)]] = True
    return chosen


class Ensemble:
    """How networks are trained: each from (seed, its number) alone, whichever others are trained with it.

    Args:
        build: makes an untrained network, drawing from torch's global generator; without dropout.
        inputs, labels: all samples, (N, ...) and int64 (N,), on one device.
        share: of the samples that each network is trained on.
        optimizer, schedule: the arguments of `build_optimizer` and `build_schedule`, with `kind`.
        epochs, batch_size: of each training.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        inputs: Tensor,
        labels: Tensor,
        *,
        share: float,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any],
        epochs: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self._build, self._inputs, self._labels = build, inputs, labels
        self._share, self._seed = share, seed
        self._optimizer, self._schedule = optimizer, schedule
        self._epochs, self._batch_size = epochs, batch_size

    def members(self, model: int) -> Flags:
        """Which samples a network is trained on, (N,)."""
        return subset(len(self._labels), share=self._share, seed=self._seed, model=model)

    def train(self, numbers: Sequence[int]) -> Group:
        """The networks with these numbers, trained together."""
        group = Group([self._initial(number) for number in numbers])
        orders = [self._orders(number) for number in numbers]
        batches = -(-int(self.members(numbers[0]).sum()) // self._batch_size)
        optimizer = build_optimizer(group.holder, **self._optimizer)
        schedule = build_schedule(optimizer, epochs=self._epochs, steps=batches, **self._schedule)
        group.train()
        for _ in range(self._epochs):
            rows = torch.from_numpy(np.stack([next(order) for order in orders])).to(self._labels.device)
            for batch in rows.tensor_split(batches, dim=1):
                logits = group(self._inputs[batch], each=True)
                loss = cross_entropy(logits.flatten(0, 1), self._labels[batch].flatten(), reduction="sum")
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss / batch.shape[1])
                optimizer.step()
                schedule.step()
        return group

    def _initial(self, number: int) -> nn.Module:
        torch.manual_seed(int(np.random.SeedSequence([self._seed, number, 1]).generate_state(1)[0]))
        return self._build().to(self._inputs.device)

    def _orders(self, number: int) -> Iterator[NDArray[np.int64]]:
        """The rows of the members in a new order for each epoch."""
        generator = np.random.Generator(np.random.PCG64([self._seed, number, 2]))
        rows = np.flatnonzero(self.members(number))
        while True:
            yield generator.permutation(rows)


class Group:
    """Networks of one kind whose parameters are stacked, so that one call computes all of them."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._alone = models[0] if len(models) == 1 else None
        self._skeleton = models[0]
        self.holder: nn.Module = models[0]
        if self._alone is None:
            stacked, self._buffers = stack_module_state(list(models))
            self._parameters = {name: nn.Parameter(values.detach()) for name, values in stacked.items()}
            self.holder = nn.ParameterList(self._parameters.values())

    def train(self, mode: bool = True) -> None:
        """In training mode, or eval mode."""
        self._skeleton.train(mode)

    def __call__(self, inputs: Tensor, *, each: bool = False) -> Tensor:
        """Logits (K, B, classes) of inputs (B, ...), or with `each` of (K, B, ...)."""
        if self._alone is not None:
            logits: Tensor = self._alone(inputs[0] if each else inputs)
            return logits[None]

        def one(parameters: Any, buffers: Any, own: Tensor) -> Any:
            return functional_call(self._skeleton, (parameters, buffers), (own,))

        call = torch.vmap(one, in_dims=(0, 0, 0 if each else None))
        stacked: Tensor = call(self._parameters, self._buffers, inputs)
        return stacked

    @torch.no_grad()
    def correct(self, inputs: Tensor, labels: Tensor, batch_size: int = 512) -> Flags:
        """Which samples each network gets right, in eval mode, (K, N)."""
        self.train(False)
        parts = [
            self(batch).argmax(2) == own
            for batch, own in zip(
                torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True
            )
        ]
        return torch.cat(parts, dim=1).cpu().numpy()
