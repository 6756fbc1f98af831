"""Training one epoch at a time, so that the caller can record between epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.optimizers import build_optimizer, build_schedule
from memtrack.core.training.precision import TrainingPrecision, training_precision


@dataclass(frozen=True)
class EpochResult:
    """Mean loss and accuracy over the batches, measured while training on them."""

    loss: float
    accuracy: float


def train_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: Optimizer,
    schedule: LRScheduler,
    augment: Callable[[Tensor], Tensor] | None = None,
    world: World = ALONE,
    counts: Iterable[int] | None = None,
) -> EpochResult:
    """Take one gradient step on each batch (inputs, labels); the batches are on the model's device.

    Nothing waits for the device before the end of the epoch.

    Args:
        world: the processes that share each batch: `batches` has the parts of this one, and `model` is
            `World.replicated`.
        counts: the number of samples in each batch, with the parts of all processes.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    model.train()
    totals: Tensor | None = None
    seen = 0
    for (inputs, labels), count in zip(batches, counts or repeat(0), strict=False):
        whole = count or len(labels)
        with world.whole_batch(whole):
            logits = model(augment(inputs) if augment else inputs)
        loss = cross_entropy(logits, labels)  # autocast computes it in float32
        optimizer.zero_grad(set_to_none=True)
        # with several processes the gradient is the mean over them, whatever their parts of the batch
        torch.autograd.backward(loss if world.size == 1 else loss * (len(labels) * world.size / whole))
        optimizer.step()
        schedule.step()
        correct = (logits.detach().argmax(1) == labels).sum()
        batch = torch.stack([loss.detach() * len(labels), correct])
        totals = batch if totals is None else totals + batch
        seen += whole
    loss_sum, correct_sum = (0.0, 0.0) if totals is None else world.total(totals).tolist()
    if not math.isfinite(loss_sum):
        raise FloatingPointError(
            "the training loss is not finite: the training has diverged; a smaller learning rate usually "
            "helps"
        )
    return EpochResult(loss=loss_sum / seen, accuracy=correct_sum / seen)


class Trainer:
    """Trains a network one epoch at a time, and holds all state that the next epoch starts from.

    An epoch draws its random numbers (dropout, augmentation) from (seed, epoch) alone, so training that
    resumes from a saved `state` takes the same steps as training that was never interrupted.

    Args:
        model: a network on its device.
        optimizer, schedule: the arguments of `build_optimizer` and `build_schedule`, with `kind`.
        epochs: number of epochs of the whole training. steps: batches per epoch.
        precision: see `training_precision`. compiled: whether to compile the network (torch.compile).
        world: the processes that train the network together. shape: the shape of an input; needed if they are
            several.
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
        precision: TrainingPrecision = "float32",
        compiled: bool = False,
        world: World = ALONE,
        shape: tuple[int, ...] = (),
    ) -> None:
        self.model = model
        self._device = next(model.parameters()).device
        self._world = world
        replicated = world.replicated(model, shape)
        self._network = cast(nn.Module, torch.compile(replicated)) if compiled else replicated
        self._precision = precision
        self.optimizer = build_optimizer(model, **optimizer)
        self.schedule = build_schedule(self.optimizer, epochs=epochs, steps=steps, **schedule)
        self._augment = augment
        self._seed = seed

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next batch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def run_epoch(
        self, epoch: int, batches: Iterable[tuple[Tensor, Tensor]], counts: Iterable[int] | None = None
    ) -> EpochResult:
        """Train on `batches` once; see `train_epoch`."""
        seed = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0])
        torch.manual_seed(seed)
        augment = partial(self._augment, generator=torch.Generator().manual_seed(seed))
        with training_precision(self._precision, self._device):
            result = train_epoch(
                self._network, batches, self.optimizer, self.schedule, augment, self._world, counts
            )
        self._world.align(self.model)
        return result

    def accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """See `accuracy`."""
        with training_precision(self._precision, self._device):
            return accuracy(self.model, batches, self._world)

    def state(self) -> dict[str, Any]:
        """Everything that training resumes from: plain numbers, and tensors that further training changes."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Resume from the `state` of a trainer that was made with the same arguments."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


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
