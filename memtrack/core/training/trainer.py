"""Training one epoch at a time, so that the caller can record between epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.average import WeightAverage
from memtrack.core.training.devices import compile_likewise
from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.losses import CrossEntropy, Loss
from memtrack.core.training.mixup import Mixup
from memtrack.core.training.optimizers import build_optimizer, build_schedule
from memtrack.core.training.precision import TrainingPrecision, training_precision
from memtrack.core.training.sharpness import SharpnessAwareStep
from memtrack.core.training.steps import Batch, Step, Target
from memtrack.core.training.susceptibility import random_label_drop


@dataclass(frozen=True)
class EpochResult:
    """Mean loss, by the samples' weights if they have some, and accuracy over the batches, measured while
    training on them."""

    loss: float
    accuracy: float


def train_epoch(
    step: Step,
    batches: Iterable[tuple[Tensor, Tensor]],
    schedule: LRScheduler,
    change: Callable[[Batch], Batch] | None = None,
    *,
    counts: Iterable[int] | None = None,
    rows: Iterable[Tensor | None] | None = None,
    weights: Iterable[tuple[Tensor, float]] | None = None,
) -> EpochResult:
    """Take one step on each batch (inputs, labels); the batches are on the network's device.

    Nothing waits for the device before the end of the epoch.

    Args:
        batches: with several processes, the parts of this one.
        change: what is done to each batch before, at random for example.
        counts: the number of samples in each batch, with the parts of all processes.
        rows: the numbers of the samples in each batch, if the loss asks for them.
        weights: the weights of the samples in each batch, and their sum with the parts of all processes.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    step.network.train()
    totals: Tensor | None = None
    seen, weighed = 0, 0.0
    whole, numbers = counts or repeat(0), rows or repeat(None)
    none: tuple[Tensor | None, float | None] = (None, None)
    weighted: Iterable[tuple[Tensor | None, float | None]] = repeat(none) if weights is None else weights
    for (inputs, labels), count, places, (own, total) in zip(batches, whole, numbers, weighted, strict=False):
        batch = Batch(inputs, (Target(labels, places, weights=own),), count or len(labels), total)
        if change is not None:
            with step.world.whole_batch(batch.whole):
                batch = change(batch)
        loss, correct = step(batch)
        schedule.step()
        sums = torch.stack([loss * len(labels), correct])
        totals = sums if totals is None else totals + sums
        seen += batch.whole
        weighed += batch.whole if total is None else total
    loss_sum, correct_sum = (0.0, 0.0) if totals is None else step.world.total(totals).tolist()
    if not math.isfinite(loss_sum):
        raise FloatingPointError(
            "the training loss is not finite: the training has diverged; a smaller learning rate usually "
            "helps"
        )
    return EpochResult(loss=loss_sum / weighed if weighed else 0.0, accuracy=correct_sum / seen)


class Trainer:
    """Trains a network one epoch at a time, and holds all state that the next epoch starts from.

    An epoch draws its random numbers (dropout, augmentation) from (seed, epoch) alone, so training that
    resumes from a saved `state` takes the same steps as training that was never interrupted.

    Attributes:
        trained: the network that takes the steps.

    Args:
        model: a network on its device.
        optimizer, schedule: the arguments of `build_optimizer` and `build_schedule`, with `kind`.
        epochs: number of epochs of the whole training. steps: batches per epoch.
        loss: the loss that is minimized; None: the cross entropy. mixup: the alpha of `Mixup`.
        average: the decay of `WeightAverage`. sam: the rho of `SharpnessAwareStep`. None: not used.
        precision: see `training_precision`. compiled: whether to compile the network (torch.compile).
        world: the processes that train the network together. shape: the shape of an input; needed if they are
            several.
        sample_weights: of the samples in the loss, (N,), from 0 on; a step follows the gradient of the
            weighted mean over its batch. None: all are 1.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any],
        augment: Augmentation,
        epochs: int,
        steps: int,
        seed: int,
        loss: Loss | None = None,
        mixup: float | None = None,
        average: float | None = None,
        sam: float | None = None,
        precision: TrainingPrecision = "float32",
        compiled: bool = False,
        world: World = ALONE,
        shape: tuple[int, ...] = (),
        sample_weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.trained = model
        self._weights = sample_weights
        self._device = next(model.parameters()).device
        self._world = world
        replicated = world.replicated(model, shape)
        network = replicated
        if compiled:
            compile_likewise()
            network = cast(nn.Module, torch.compile(replicated))
        self._precision = precision
        self.optimizer = build_optimizer(model, **optimizer)
        self.schedule = build_schedule(self.optimizer, epochs=epochs, steps=steps, **schedule)
        self._loss = (CrossEntropy() if loss is None else loss).to(self._device)
        make = Step if sam is None else partial(SharpnessAwareStep, rho=sam)
        self._step = make(network, self.optimizer, self._loss, world)
        self._average = None if average is None else WeightAverage(model, average)
        if self._average is not None:
            self.optimizer.register_step_post_hook(self._average.update)
        self._augment, self._mixup = augment, None if mixup is None else Mixup(mixup)
        self._seed = seed

    @property
    def model(self) -> nn.Module:
        """The network that the training is for: the trained one, or its average."""
        return self.trained if self._average is None else self._average.model

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next batch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def run_epoch(
        self,
        epoch: int,
        batches: Iterable[tuple[Tensor, Tensor]],
        counts: Iterable[int] | None = None,
        rows: Sequence[NDArray[np.int64]] | None = None,
    ) -> EpochResult:
        """Train on `batches` once; see `train_epoch`. `rows` are needed if the loss asks for them, or if the
        samples have weights."""
        sequence = np.random.SeedSequence([self._seed, epoch])
        seed = int(sequence.generate_state(1)[0])
        torch.manual_seed(seed)
        generator, mixing = torch.Generator().manual_seed(seed), np.random.default_rng(sequence.spawn(1)[0])

        def change(batch: Batch) -> Batch:
            augmented = replace(batch, inputs=self._augment(batch.inputs, generator))
            return augmented if self._mixup is None else self._mixup(augmented, mixing)

        numbers = self._numbers(rows)
        self._loss.start_epoch(epoch)
        with training_precision(self._precision, self._device):
            result = train_epoch(
                self._step,
                batches,
                self.schedule,
                change,
                counts=counts,
                rows=numbers,
                weights=self._weights_of(rows),
            )
        self._loss.end_epoch(self._world, None if numbers is None else torch.cat(numbers))
        self._world.align(self.trained)
        if self._average is not None:
            self._world.align(self._average.model)
        return result

    def _numbers(self, rows: Sequence[NDArray[np.int64]] | None) -> list[Tensor] | None:
        """The rows of the batches on the device, if the loss asks for them."""
        if not self._loss.needs_rows:
            return None
        if rows is None:
            raise ValueError("this loss needs the rows of the samples in each batch")
        every = torch.from_numpy(np.concatenate(rows)).to(self._device)
        return list(torch.split(every, [len(each) for each in rows]))

    def _weights_of(self, rows: Sequence[NDArray[np.int64]] | None) -> list[tuple[Tensor, float]] | None:
        """The weights of each batch on the device, and their sum with the parts of all processes."""
        if self._weights is None:
            return None
        if rows is None:
            raise ValueError("weights need the rows of the samples in each batch")
        sums = torch.tensor([self._weights[part].sum() for part in rows])
        if self._world.size > 1:
            sums = self._world.total(sums.to(self._device))
        every = torch.from_numpy(self._weights[np.concatenate(rows)]).to(self._device, torch.float32)
        parts = torch.split(every, [len(part) for part in rows])
        return list(zip(parts, sums.tolist(), strict=True))

    def accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """See `accuracy`."""
        with training_precision(self._precision, self._device):
            return accuracy(self.model, batches, self._world)

    def random_label_drop(self, inputs: Tensor, labels: Tensor, seed: int) -> float:
        """See `random_label_drop`."""
        with training_precision(self._precision, self._device):
            return random_label_drop(self.trained, self.optimizer, inputs, labels, seed=seed, loss=self._loss)

    def state(self) -> dict[str, Any]:
        """Everything that training resumes from: plain numbers, and tensors that further training changes."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from the `state` of a trainer that was made with the same arguments."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        """What has a state."""
        parts: dict[str, Any] = {
            "model": self.trained,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        if self._loss.state_dict():
            parts["loss"] = self._loss
        if self._average is not None:
            parts["average"] = self._average
        return parts


@torch.no_grad()
def accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], world: World = ALONE) -> float:
    """The share of the samples that the model predicts correctly, in eval mode. Each process of `world` has
    some of the batches."""
    model.eval()
    correct: Tensor | int = 0
    seen = 0
    for inputs, labels in batches:
        correct = correct + (model(inputs).argmax(1) == labels).sum()
        seen += len(labels)
    correct_sum, seen_sum = world.total(torch.tensor([int(correct), seen])).tolist()
    return float(correct_sum / seen_sum)
