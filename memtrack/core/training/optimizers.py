"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)


class RatedModule(nn.Module):
    """A module that trains some of its parameters more slowly than others, or not at all."""

    def rates(self) -> dict[str, float]:
        """For each parameter of this module that is trained, by name, the factor of its learning rate."""
        raise NotImplementedError


def build_optimizer(model: nn.Module, kind: str, **options: Any) -> Optimizer:
    """The optimizer `sgd` or `adamw` for the model's parameters; on a GPU one kernel updates all of them.

    If the model is a `RatedModule`, or wraps some, they have its rates.
    """
    kinds: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adamw": AdamW}
    fused = all(parameter.is_cuda for parameter in model.parameters())
    return kinds[kind](_groups(model, options["lr"]), fused=True if fused else None, **options)


def _groups(model: nn.Module, rate: float) -> Any:
    """The parameters of a model; if their rates differ, in a group for each rate, the highest first."""
    rated = [module for module in model.modules() if isinstance(module, RatedModule)]
    if not rated:
        return list(model.parameters())
    parameters = [
        (factor, module.get_parameter(name)) for module in rated for name, factor in module.rates().items()
    ]
    return [
        {"params": [own for mine, own in parameters if mine == factor], "lr": rate * factor}
        for factor in sorted({factor for factor, _ in parameters}, reverse=True)
    ]


def build_schedule(
    optimizer: Optimizer, kind: str, *, epochs: int, steps: int, **options: Any
) -> LRScheduler:
    """A learning-rate schedule, to be stepped after every batch.

    Args:
        kind: constant, step (milestones in epochs, factor), cosine or one_cycle (warmup share).
        epochs: number of epochs of the whole training. steps: batches per epoch.
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
    # one step more than training takes, so that the last one is still within the cycle
    rising = max(options["warmup"], 2 / (total + 1))  # torch divides by zero if the rise is one step
    return OneCycleLR(optimizer, highest, total_steps=total + 1, pct_start=rising, cycle_momentum=False)
