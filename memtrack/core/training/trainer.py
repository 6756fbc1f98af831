"""Training one epoch at a time, so that the caller can record between epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    LRScheduler,
)

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.optimizers import build_optimizer, build_schedule


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

    Args:
        world: the processes that share each batch, if `model` is replicated in several and `batches` has the
            parts of this one.
        counts: the number of samples in each batch, with the parts of all processes.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    model.train()
    total = torch.zeros(2)
    seen = 0
    for (inputs, labels), count in zip(batches, counts or repeat(0), strict=False):
        count = count or len(labels)
        with world.whole_batch(count):
            logits = model(augment(inputs) if augment else inputs)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss * (len(labels) * world.size / count) if world.size > 1 else loss)
        optimizer.step()
        schedule.step()
        correct = (logits.detach().argmax(1) == labels).sum()
        total += torch.stack([loss.detach() * len(labels), correct]).cpu()
        seen += count
    total = world.total(total)
    if not torch.isfinite(total).all():
        raise FloatingPointError(
            "the training loss is not finite: the training has diverged; a smaller learning rate usually "
            "helps"
        )
    return EpochResult(loss=float(total[0]) / seen, accuracy=float(total[1]) / seen)


class Trainer:
    """Trains a network one epoch at a time, and holds all state that the next epoch starts from.

    An epoch draws its random numbers (dropout, augmentation) from (seed, epoch) alone, so training that
    resumes from a saved `state` takes the same steps as training that was never interrupted.

    Args:
        model: a network on its device.
        optimizer, schedule: the arguments of `build_optimizer` and `build_schedule`, with `kind`.
        epochs: number of epochs of the whole training. steps: batches per epoch.
        world: the processes that train the network together.
        replicated: what `world` makes of the model; None: the model.
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
        world: World = ALONE,
        replicated: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.optimizer = build_optimizer(model, **optimizer)
        self.schedule = build_schedule(self.optimizer, epochs=epochs, steps=steps, **schedule)
        self._augment = augment
        self._seed = seed
        self._world = world
        self._replicated = replicated or model

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
        result = train_epoch(
            self._replicated, batches, self.optimizer, self.schedule, augment, self._world, counts
        )
        self._world.align(self.model)
        return result

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
    correct = seen = 0
    for inputs, labels in batches:
        correct += int((model(inputs).argmax(1) == labels).sum())
        seen += len(labels)
    correct, seen = world.total(torch.tensor([correct, seen])).tolist()
    return correct / seen
