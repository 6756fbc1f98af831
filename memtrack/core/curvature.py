"""Input-space curvature of the loss, by finite differences of its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Norm = Literal["plain", "squared"]


def rademacher_probe(shape: Sequence[int], *, seed: int, epoch: int, probe: int) -> Tensor:
    """One random direction v with entries +1 and -1, each with probability 1/2.

    Drawn on the CPU from (seed, epoch, probe) alone, so it is the same for every sample, batch,
    worker and machine.

    Args:
        shape: shape of one input, for example (channels, height, width).
        seed, epoch, probe: what the direction is drawn from; each >= 0.

    Returns:
        float32 tensor of the given shape.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch, probe]))
    signs = generator.integers(0, 2, size=tuple(shape), dtype=np.int8)
    return torch.from_numpy(signs.astype(np.float32) * 2 - 1)


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode with frozen parameters; everything is put back, also after an error."""
    modes = {module: module.training for module in model.modules()}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def loss_gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The logits and the gradient of each sample's cross-entropy loss with respect to its input.

    The losses are summed, not averaged: in eval mode the samples do not touch each other, so the
    gradient of the sum holds each sample's own gradient, whatever the size of the batch.

    Returns:
        logits (B, classes), without a graph, and gradients of the shape of `inputs`.
    """
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_(True)
        logits = model(inputs)
        loss = cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
    return logits.detach(), gradient


@dataclass(frozen=True)
class FiniteDifference:
    """The paper's estimate of how sharply the loss bends around a sample.

    With g(x) the gradient of the loss at x, probes v_k with entries +1 and -1, and scale h:

        plain:    (1/n) sum_k ||g(x + h v_k) - g(x)|| / h
        squared:  (1/n) sum_k ||g(x + h v_k) - g(x)||^2 / h^2

    For a twice differentiable network and h -> 0 the difference is h H v, H the Hessian of the loss
    in the input, and since E ||H v||^2 = Tr(H^2), `squared` estimates Tr(H^2) = ||H||_F^2; `plain`
    estimates E ||H v||, a little below its root. Dividing by h (which the authors' code leaves out;
    it changes no ranking) makes values at different h comparable. The unit is loss per squared unit
    of normalized input for `plain`, its square for `squared`.

    Attributes:
        scale: h > 0, in units of the normalized input, for every entry of the input.
        probes: n >= 1. Probes are nested: the first k of n are those of a run with k.
        norm: `plain` as in the authors' code, `squared` as in the paper.
        seed: the probes are drawn from (seed, epoch, number of the probe).

    Source: Garg, Ravikumar & Roy, ICML 2024 (arXiv 2307.05831), section 3.
    """

    scale: float
    probes: int = 1
    norm: Norm = "plain"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale (h) is {self.scale}: it should be above 0 and finite")
        if self.probes < 1:
            raise ValueError(f"probes is {self.probes}: at least one is needed")
        if self.norm not in ("plain", "squared"):
            raise ValueError(f"norm is {self.norm!r}: it should be 'plain' or 'squared'")

    def directions(self, shape: Sequence[int], epoch: int) -> list[Tensor]:
        """The probes for inputs of `shape` in `epoch`."""
        return [
            rademacher_probe(shape, seed=self.seed, epoch=epoch, probe=number)
            for number in range(self.probes)
        ]

    def estimate(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        gradient: Tensor,
        probes: list[Tensor],
    ) -> Tensor:
        """The curvature of each sample, given its gradient; the model is already `measuring`."""
        total = torch.zeros(len(inputs), device=inputs.device)
        for probe in probes:
            _, moved = loss_gradient(model, inputs + self.scale * probe.to(inputs.device), labels)
            length = (moved - gradient).flatten(1).norm(dim=1) / self.scale
            total += length.square() if self.norm == "squared" else length
        return total / len(probes)


def curvature(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    scale: float,
    probes: int = 1,
    norm: Norm = "plain",
    seed: int = 0,
    epoch: int = 0,
) -> Tensor:
    """Per-sample curvature of the cross-entropy loss; see `FiniteDifference` for the formula.

    The model may be any classifier whose samples do not touch each other in eval mode (batch norm
    with running statistics does not); it is measured in eval mode and left as it was found.

    Args:
        model: maps inputs to logits (B, classes).
        inputs: floating point (B, ...), normalized as in training.
        labels: int64 (B,), the given labels.
        scale, probes, norm, seed: as in `FiniteDifference`.
        epoch: >= 0; enters the draw of the probes.

    Returns:
        float32 (B,).

    Raises:
        ValueError: if an argument is out of its range or the inputs are not floating point.

    >>> model = nn.Linear(3, 2)
    >>> curvature(model, torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), scale=0.1).shape
    torch.Size([4])
    """
    if not inputs.is_floating_point():
        raise ValueError(f"inputs are {inputs.dtype}: they should be normalized floating point")
    estimator = FiniteDifference(scale, probes, norm, seed)
    directions = estimator.directions(inputs.shape[1:], epoch)
    with measuring(model):
        _, gradient = loss_gradient(model, inputs, labels)
        return estimator.estimate(model, inputs, labels, gradient, directions)
