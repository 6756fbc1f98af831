"""Many networks of one kind, trained on subsets of the same samples, one at a time or together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from memtrack.core.images.normalization import Normalization
from memtrack.core.memorization.group_size import CudaMemory, GroupSize, Memory, fastest_size
from memtrack.core.memorization.subsets import Flags
from memtrack.core.recording.precision import Precision
from memtrack.core.training.optimizers import build_optimizer, build_schedule

WARM_UP, TIMED_STEPS = 3, 8
SMALL = 2**25
"""Training images with at most this many numbers in all are normalized once, others in each batch."""
SAME = 0.01
"""The outputs of a network in a group may differ by this share of the largest from those of it alone."""


@dataclass(frozen=True)
class Recipe:
    """How each network is trained. There is no augmentation.

    Attributes:
        build: makes an untrained network, drawn from torch's global generator.
        mean, std: mean and standard deviation of each channel of the images, pixels in [0, 1].
        optimizer, schedule: the arguments of `build_optimizer` and `build_schedule`, with `kind`.
        epochs, batch_size: the number of epochs and the batch size of each training.
        seed: initial parameters and sample orders are drawn from (seed, number of the network).
        precision: precision of the forward passes; with bfloat16, parameters and losses stay float32.
    """

    build: Callable[[], nn.Module]
    mean: Sequence[float]
    std: Sequence[float]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    epochs: int
    batch_size: int
    seed: int
    precision: Precision = "float32"


class StackedTraining:
    """Trains networks. A network depends on (seed, its number) alone, whichever others are trained with it.

    A GPU that has the images is waited for once a group: its host only draws the orders of the samples.

    Args:
        images: uint8 (N, channels, H, W), on any device, or a file mapped into memory.
        labels: int64 (N,). device: the device of the networks.
    """

    def __init__(self, recipe: Recipe, images: Tensor, labels: Tensor, device: torch.device) -> None:
        self._recipe, self._images, self._device = recipe, images, device
        self._inputs = Normalization(recipe.mean, recipe.std, device)
        self._normalized = self._inputs(images) if images.numel() <= SMALL else None
        self._home = images.device if self._normalized is None else device
        """The device of the images that batches are made of."""
        self._labels = labels.to(self._home)
        self._can_be_stacked = False

    def train(self, numbers: Sequence[int], members: Flags) -> Group:
        """Train the networks with these numbers together.

        Args:
            members: which samples each network is trained on, the same number for each, (K, N).

        Raises:
            RuntimeError: if the networks cannot be trained together, for example because they draw random
                numbers for dropout. Train such networks one at a time.
        """
        group = self._group(numbers)
        for _ in self._steps(group, numbers, members):
            pass
        return group

    @torch.no_grad()
    def correct(self, group: Group, images: Tensor, labels: Tensor) -> Flags:
        """Which samples (N, channels, H, W) each network predicts correctly, in eval mode, (K, N).

        The results stay on the device until the last sample is done.

        Raises:
            FloatingPointError: if the training has diverged.
        """
        group.train(False)
        right = torch.empty(group.size, len(labels), dtype=torch.bool, device=self._device)
        finite = torch.ones((), dtype=torch.bool, device=self._device)
        labels = labels.to(self._device)
        for start in range(0, len(labels), self._recipe.batch_size):
            part = slice(start, start + self._recipe.batch_size)
            logits = self._logits(group, self._inputs(images[part]))
            finite &= torch.isfinite(logits).all()
            right[:, part] = logits.argmax(2) == labels[part]
        if not bool(finite):
            raise FloatingPointError("a network's logits are not finite: the training has diverged")
        return right.cpu().numpy()

    def fastest_size(
        self,
        members: Callable[[int], Flags],
        most: int,
        total: int | None = None,
        memory: Memory | None = None,
    ) -> GroupSize:
        """How many networks are trained fastest together, by a few steps of groups of 1, 2, 4, ... networks;
        see `memtrack.core.memorization.group_size.fastest_size`. `memory` is by default that of the device,
        if it is a GPU."""
        if memory is None and self._device.type == "cuda":
            memory = CudaMemory(self._device)
        return fastest_size(
            lambda size: self._seconds(range(size), members), most, total=total, memory=memory
        )

    def _seconds(self, numbers: Sequence[int], members: Callable[[int], Flags]) -> float:
        """The seconds that the training of a group takes, from its fastest step."""
        chosen = np.stack([members(number) for number in numbers])
        steps = self._steps(self._group(numbers), numbers, chosen)
        found = []
        for _ in islice(steps, WARM_UP + TIMED_STEPS):
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            found.append(time.perf_counter())
        step = float(np.diff(found)[WARM_UP - 1 :].min(initial=np.inf))
        return step * self._recipe.epochs * self._batches(chosen)

    def _group(self, numbers: Sequence[int]) -> Group:
        if len(numbers) > 1 and not self._can_be_stacked:
            self._check_stacking(numbers[:2])
        return self._stacked(numbers)

    def _stacked(self, numbers: Sequence[int]) -> Group:
        return Group(map(self._initial, numbers), len(numbers), self._device)

    @torch.no_grad()
    def _check_stacking(self, numbers: Sequence[int]) -> None:
        """Compare the outputs of two untrained networks with those of each alone."""
        inputs = self._inputs(self._images[:2])
        together = self._stacked(numbers)
        together.train(False)
        for number, found in zip(numbers, together(inputs), strict=True):
            alone = self._stacked([number])
            alone.train(False)
            [expected] = alone(inputs)
            if not bool((found - expected).abs().max() <= SAME * expected.abs().max()):
                raise RuntimeError(
                    "their outputs change when their parameters are stacked; a tensor of the network may be "
                    "neither a parameter nor a buffer"
                )
        self._can_be_stacked = True

    def _batches(self, members: Flags) -> int:
        """The number of batches of an epoch."""
        return -(-int(members[0].sum()) // self._recipe.batch_size)

    def _steps(self, group: Group, numbers: Sequence[int], members: Flags) -> Iterator[None]:
        """Train a group, one step at a time."""
        recipe = self._recipe
        orders = [self._orders(number, own) for number, own in zip(numbers, members, strict=True)]
        batches = self._batches(members)
        optimizer = build_optimizer(group.holder, **recipe.optimizer)
        schedule = build_schedule(optimizer, epochs=recipe.epochs, steps=batches, **recipe.schedule)
        group.train(True)
        for _ in range(recipe.epochs):
            rows = torch.from_numpy(np.stack([next(order) for order in orders]))
            if self._home.type == "cuda":
                rows = rows.pin_memory()
            for batch in rows.to(self._home, non_blocking=True).tensor_split(batches, dim=1):
                inputs = self._samples(batch.flatten())
                logits = self._logits(group, inputs.view(*batch.shape, *inputs.shape[1:]), each=True)
                labels = self._labels[batch.flatten()].to(self._device)
                loss = cross_entropy(logits.flatten(0, 1), labels, reduction="sum")
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss / batch.shape[1])
                optimizer.step()
                schedule.step()
                yield

    def _logits(self, group: Group, inputs: Tensor, *, each: bool = False) -> Tensor:
        half = self._recipe.precision == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half):
            return group(inputs, each=each).float()

    def _samples(self, rows: Tensor) -> Tensor:
        if self._normalized is not None:
            return self._normalized[rows]
        return self._inputs(self._images[rows])

    def _initial(self, number: int) -> nn.Module:
        torch.manual_seed(int(np.random.SeedSequence([self._recipe.seed, number, 1]).generate_state(1)[0]))
        return self._recipe.build()

    def _orders(self, number: int, members: Flags) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of the members, in a new order for each epoch."""
        generator = np.random.Generator(np.random.PCG64([self._recipe.seed, number, 2]))
        rows = np.flatnonzero(members)
        while True:
            yield generator.permutation(rows)


class Group:
    """Networks of one kind. If there are several, their parameters are stacked, so one call computes all.

    Args:
        models: the networks, `size` of them. They are made one after the other, and are not kept.

    Attributes:
        holder: holds the parameters of all networks, for an optimizer, under the names of one network's.
    """

    def __init__(self, models: Iterable[nn.Module], size: int, device: torch.device) -> None:
        self.size = size
        rest = iter(models)
        self.holder = next(rest).to(device)
        if size == 1:
            return
        self._parameters = dict(self.holder.named_parameters())
        self._buffers = dict(self.holder.named_buffers())
        stacked = {name: value.new_empty(size, *value.shape) for name, value in self._state().items()}
        with torch.no_grad():
            for name, value in self._state().items():
                stacked[name][0] = value
            for number, model in enumerate(rest, 1):
                for name, value in (*model.named_parameters(), *model.named_buffers()):
                    stacked[name][number] = value
        for name, parameter in self._parameters.items():
            parameter.data = stacked[name]
        self._buffers = {name: stacked[name] for name in self._buffers}

    def _state(self) -> dict[str, Tensor]:
        return {**self._parameters, **self._buffers}

    def train(self, mode: bool) -> None:
        """Switch to training mode, or to eval mode."""
        self.holder.train(mode)

    def __call__(self, inputs: Tensor, *, each: bool = False) -> Tensor:
        """Logits (K, B, classes) of inputs (B, ...), or with `each` of inputs (K, B, ...)."""
        if self.size == 1:
            logits: Tensor = self.holder(inputs[0] if each else inputs)
            return logits[None]

        def one(parameters: Any, buffers: Any, own: Tensor) -> Any:
            return functional_call(self.holder, (parameters, buffers), (own,))

        call = torch.vmap(one, in_dims=(0, 0, 0 if each else None))
        stacked: Tensor = call(self._parameters, self._buffers, inputs)
        return stacked
