"""Many networks of one kind, trained on subsets of the same samples, one at a time or together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.functional import cross_entropy

from memtrack.core.images.normalization import Normalization
from memtrack.core.memorization.subsets import Flags
from memtrack.core.recording.precision import Precision
from memtrack.core.training.optimizers import RatedModule, build_optimizer, build_schedule

WARM_UP, TIMED_STEPS = 3, 8
SMALL = 2**25
"""Training images with at most this many numbers in all are normalized once, others in each batch."""
GAIN = 0.95
"""A larger group counts as faster if it takes less than this share of the time per network."""


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

    Args:
        images: uint8 (N, channels, H, W), on any device, or a file mapped into memory.
        labels: int64 (N,). device: the device of the networks.
    """

    def __init__(self, recipe: Recipe, images: Tensor, labels: Tensor, device: torch.device) -> None:
        self._recipe, self._images, self._device = recipe, images, device
        self._labels = labels.to(device)
        self._inputs = Normalization(recipe.mean, recipe.std, device)
        self._normalized = self._inputs(images) if images.numel() <= SMALL else None

    def train(self, numbers: Sequence[int], members: Flags) -> Group:
        """Train the networks with these numbers together.

        Args:
            members: which samples each network is trained on, the same number for each, (K, N).

        Raises:
            RuntimeError: if several networks draw random numbers, for example for dropout. Train such
                networks one at a time.
        """
        group = self._group(numbers)
        for _ in self._steps(group, numbers, members):
            pass
        return group

    @torch.no_grad()
    def correct(self, group: Group, images: Tensor, labels: Tensor) -> Flags:
        """Which samples (N, channels, H, W) each network predicts correctly, in eval mode, (K, N).

        Raises:
            FloatingPointError: if the training has diverged.
        """
        group.train(False)
        parts = []
        for batch, batch_labels in zip(
            torch.split(images, self._recipe.batch_size),
            torch.split(labels, self._recipe.batch_size),
            strict=True,
        ):
            logits = self._logits(group, self._inputs(batch))
            if not bool(torch.isfinite(logits).all()):
                raise FloatingPointError("a network's logits are not finite: the training has diverged")
            parts.append((logits.argmax(2) == batch_labels.to(self._device)).cpu())
        return torch.cat(parts, dim=1).numpy()

    def fastest_size(self, members: Callable[[int], Flags], most: int) -> int:
        """How many networks, at most `most`, are trained fastest together. It times a few steps of groups of
        1, 2, 4, ... networks until two sizes in a row gain nothing or the GPU's memory is full."""
        best, size, least = 1, 1, float("inf")
        while size <= min(most, 4 * best):
            try:
                seconds = self._seconds(range(size), members) / size
            except RuntimeError:  # out of memory, or the networks draw random numbers
                if size == 1:
                    raise
                break
            if seconds < GAIN * least:
                best, least = size, seconds
            size *= 2
        return best

    def _seconds(self, numbers: Sequence[int], members: Callable[[int], Flags]) -> float:
        """The seconds of the fastest step of a group."""
        steps = self._steps(self._group(numbers), numbers, np.stack([members(number) for number in numbers]))
        found = []
        for _ in islice(steps, WARM_UP + TIMED_STEPS):
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            found.append(time.perf_counter())
        return float(np.diff(found)[WARM_UP - 1 :].min(initial=np.inf))

    def _group(self, numbers: Sequence[int]) -> Group:
        return Group([self._initial(number) for number in numbers])

    def _steps(self, group: Group, numbers: Sequence[int], members: Flags) -> Iterator[None]:
        """Train a group, one step at a time."""
        recipe = self._recipe
        orders = [self._orders(number, own) for number, own in zip(numbers, members, strict=True)]
        batches = -(-int(members[0].sum()) // recipe.batch_size)
        optimizer = build_optimizer(group.holder, **recipe.optimizer)
        schedule = build_schedule(optimizer, epochs=recipe.epochs, steps=batches, **recipe.schedule)
        group.train(True)
        for _ in range(recipe.epochs):
            rows = torch.from_numpy(np.stack([next(order) for order in orders]))
            for batch in rows.tensor_split(batches, dim=1):
                inputs = self._samples(batch.flatten())
                logits = self._logits(group, inputs.view(*batch.shape, *inputs.shape[1:]), each=True)
                labels = self._labels[batch.flatten().to(self._device)]
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
            return self._normalized[rows.to(self._device)]
        return self._inputs(self._images[rows.to(self._images.device)])

    def _initial(self, number: int) -> nn.Module:
        torch.manual_seed(int(np.random.SeedSequence([self._recipe.seed, number, 1]).generate_state(1)[0]))
        return self._recipe.build().to(self._device)

    def _orders(self, number: int, members: Flags) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of the members, in a new order for each epoch."""
        generator = np.random.Generator(np.random.PCG64([self._recipe.seed, number, 2]))
        rows = np.flatnonzero(members)
        while True:
            yield generator.permutation(rows)


class _Stack(RatedModule):
    """The stacked parameters of networks like `model`, with the learning rates that it has."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], model: nn.Module) -> None:
        super().__init__()
        self.values = nn.ParameterList(parameters.values())
        rates = model.rates() if isinstance(model, RatedModule) else dict.fromkeys(parameters, 1.0)
        self._rates = {
            f"values.{place}": rates[name] for place, name in enumerate(parameters) if name in rates
        }

    def rates(self) -> dict[str, float]:
        """See `RatedModule`."""
        return self._rates


class Group:
    """Networks of one kind. If there are several, their parameters are stacked, so one call computes all."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._alone = models[0] if len(models) == 1 else None
        self._skeleton = models[0]
        self.holder: nn.Module = models[0]
        """Holds the parameters of all networks, for an optimizer."""
        if self._alone is None:
            stacked, self._buffers = stack_module_state(list(models))
            self._parameters = {
                name: nn.Parameter(values.detach(), values.requires_grad) for name, values in stacked.items()
            }
            self.holder = _Stack(self._parameters, models[0])

    def train(self, mode: bool) -> None:
        """Switch to training mode, or to eval mode."""
        self._skeleton.train(mode)

    def __call__(self, inputs: Tensor, *, each: bool = False) -> Tensor:
        """Logits (K, B, classes) of inputs (B, ...), or with `each` of inputs (K, B, ...)."""
        if self._alone is not None:
            logits: Tensor = self._alone(inputs[0] if each else inputs)
            return logits[None]

        def one(parameters: Any, buffers: Any, own: Tensor) -> Any:
            return functional_call(self._skeleton, (parameters, buffers), (own,))

        call = torch.vmap(one, in_dims=(0, 0, 0 if each else None))
        stacked: Tensor = call(self._parameters, self._buffers, inputs)
        return stacked
