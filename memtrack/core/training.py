"""Training: one epoch at a time, so that the caller can record between epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; a named device that is not there is a ValueError."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, there in available.items() if there), "cpu"))
    if not available.get(name, True):
        raise ValueError(f"this machine has no {name} device; 'auto' takes what there is")
    return torch.device(name)


def build_optimizer(model: nn.Module, kind: str, **options: Any) -> Optimizer:
    """The optimizer `sgd` or `adamw` of the model's parameters."""
    kinds: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adamw": AdamW}
    return kinds[kind](model.parameters(), **options)


def build_schedule(
    optimizer: Optimizer, kind: str, *, epochs: int, steps: int, **options: Any
) -> LRScheduler:
    """A learning-rate schedule that is stepped after every batch.

    Args:
        kind: constant, step (milestones in epochs, factor), cosine or one_cycle (warmup share).
        epochs: of the whole training. steps: batches per epoch.
    """
    total = epochs * steps
    if kind == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    if kind == "step":
        milestones = [epoch * steps for epoch in options["milestones"]]
        return MultiStepLR(optimizer, milestones, gamma=options["factor"])
    if kind == "cosine":
        return CosineAnnealingLR(optimizer, total)
    highest = [group["lr"] for group in optimizer.param_groups]
    # one step more than are taken, so that the last one is still within the cycle
    rising = max(options["warmup"], 2 / (total + 1))  # torch divides by zero on a rise of one step
    return OneCycleLR(optimizer, highest, total_steps=total + 1, pct_start=rising, cycle_momentum=False)


@dataclass(frozen=True)
class Augmentation:
    """Random shifts by up to `crop` pixels (the border filled with zeros) and mirror images."""

    crop: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch (B, channels, height, width); draws are made on the CPU."""
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


@dataclass(frozen=True)
class EpochResult:
    """Mean loss and accuracy over the batches as they were trained on."""

    loss: float
    accuracy: float


def train_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: Optimizer,
    schedule: LRScheduler,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> EpochResult:
    """One pass of gradient steps over (inputs, labels) batches on the model's device.

    Raises:
        FloatingPointError: when the loss is no longer finite.
    """
    model.train()
    total = torch.zeros(2)
    seen = 0
    for inputs, labels in batches:
        logits = model(augment(inputs) if augment else inputs)
        loss = cross_entropy(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        correct = (logits.detach().argmax(1) == labels).sum()
        total += torch.stack([loss.detach() * len(labels), correct]).cpu()
        seen += len(labels)
    if not torch.isfinite(total).all():
        raise FloatingPointError(
            "the training loss is not finite: the training has diverged; a smaller learning rate "
            "(train.optimizer.lr) usually mends it"
        )
    return EpochResult(loss=float(total[0]) / seen, accuracy=float(total[1]) / seen)


class Trainer:
    """A network in training, one epoch at a time, with all that the next epoch starts from.

    An epoch draws its random numbers (dropout, augmentation) from (seed, epoch) alone, so training that
    goes on from a saved `state` makes the same steps as training that was never interrupted.

    Args:
        model: on its device.
        optimizer, schedule: the arguments of `build_optimizer` and `build_schedule`, with `kind`.
        epochs: of the whole training. steps: batches per epoch.
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
    ) -> None:
        self.model = model
        self.optimizer = build_optimizer(model, **optimizer)
        self.schedule = build_schedule(self.optimizer, epochs=epochs, steps=steps, **schedule)
        self._augment = augment
        self._seed = seed

    @property
    def learning_rate(self) -> float:
        """Of the next batch."""
        return float(self.optimizer.param_groups[0]["lr"])

    def run_epoch(self, epoch: int, batches: Iterable[tuple[Tensor, Tensor]]) -> EpochResult:
        """Train on `batches` once; see `train_epoch`."""
        seed = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0])
        torch.manual_seed(seed)
        augment = partial(self._augment, generator=torch.Generator().manual_seed(seed))
        return train_epoch(self.model, batches, self.optimizer, self.schedule, augment)

    def state(self) -> dict[str, Any]:
        """Everything that training goes on from: tensors and plain numbers, which live on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of a trainer that was made with the same arguments."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


@torch.no_grad()
def accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of the samples that the model, in eval mode, gets right."""
    model.eval()
    correct = seen = 0
    for inputs, labels in batches:
        correct += int((model(inputs).argmax(1) == labels).sum())
        seen += len(labels)
    return correct / seen
