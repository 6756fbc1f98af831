"""Input-space curvature of the loss: three estimators of the length of Hessian times probe.

All estimate ||H v||, where H is the Hessian of one sample's loss with respect to its input and v is a random
direction. The unit is loss per squared unit of normalized input. They differ in how far from the sample
they look:

- `ForwardDifference`, the paper's: n + 1 gradients, at x and x + h v. The default.
- `CentralDifference`: 2 n gradients, at x + h v and x - h v. For a smooth network its error falls with
  h^2 instead of h. Use it to measure a Hessian at a step that rounding still allows.
- `HessianProduct`: the exact product at x itself, the limit h -> 0. Use it to check the other two on a
  smooth network, or if you want the derivative at one point.

A network of ReLUs is piecewise linear: its gradient jumps at the kinks between the pieces, and its exact
Hessian sees only the curvature of the softmax within one piece. A step of length h crosses kinks, and their
jumps are most of what it measures. The more kinks it crosses, the more the network bends around the sample.
So for such networks h is not a numerical nuisance but the size of the neighbourhood that is examined. As h
shrinks, the forward and the central difference fall to the exact product, which ranks samples worse.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from memtrack.core.recording.eval_mode import (
    Network,
    check_classes,
    check_labels,
    differentiating,
    frozen_eval,
    loss_gradient,
    summed_loss,
)
from memtrack.core.recording.precision import SMALLEST_SCALE, Precision

Norm = Literal["plain", "squared"]
Method = Literal["forward", "central", "hessian"]


def rademacher_probe(shape: Sequence[int], *, seed: int, epoch: int, probe: int) -> Tensor:
    """One random direction v with entries +1 and -1, each with probability 1/2.

    It is drawn on the CPU from (seed, epoch, probe) alone, so it is the same for every sample, batch,
    worker and machine.

    Args:
        shape: shape of one input, for example (channels, height, width).
        seed, epoch, probe: determine the direction; each >= 0.

    Returns:
        float32 tensor of the given shape.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch, probe]))
    signs = generator.integers(0, 2, size=tuple(shape), dtype=np.int8)
    return torch.from_numpy(signs.astype(np.float32) * 2 - 1)


@dataclass(frozen=True)
class Estimator(ABC):
    """The base of the estimators. It draws probes v_k with entries +1 and -1, and averages the lengths:

        plain:    (1/n) sum_k ||p_k||
        squared:  (1/n) sum_k ||p_k||^2

    where p_k is the estimate of H v_k. For Rademacher v, E ||H v||^2 = Tr(H^2). So `squared` estimates
    Tr(H^2) = ||H||_F^2, and `plain` estimates E ||H v||, which is a little below its root. Differences are
    divided by h, so values at different h are comparable (the authors' code does not divide by h, which
    changes no ranking).

    Attributes:
        scale: h > 0, the step along every entry of a probe, in units of the normalized input.
        probes: n >= 1. Probes are nested: the first k of n probes are those of a run with k probes.
        norm: `plain` as in the authors' code, `squared` as in the paper.
        seed: the probes are drawn from (seed, epoch, number of the probe).
        precision: precision of the network's arithmetic; see `Precision`.

    Raises:
        ValueError: if an argument is out of its range. `directions` checks h against the precision.

    Source: Garg, Ravikumar & Roy, ICML 2024 (arXiv 2307.05831), section 3; Hutchinson 1989 for v.
    """

    scale: float
    probes: int = 1
    norm: Norm = "plain"
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"scale (h) is {self.scale}: it should be above 0 and finite")
        if self.probes < 1:
            raise ValueError(f"probes is {self.probes}: it should be at least 1")
        if self.norm not in ("plain", "squared"):
            raise ValueError(f"norm is {self.norm!r}: it should be 'plain' or 'squared'")
        if self.precision not in SMALLEST_SCALE:
            known = ", ".join(SMALLEST_SCALE)
            raise ValueError(f"precision is {self.precision!r}: it should be one of {known}")

    @contextmanager
    def measuring(self, model: nn.Module) -> Iterator[None]:
        """Prepare `model` and torch for the other methods; everything is restored. See `frozen_eval`."""
        with frozen_eval(model, self.precision):
            yield

    def directions(self, inputs: Tensor, epoch: int, numbers: Sequence[int] | None = None) -> list[Tensor]:
        """The probes of `epoch` for samples like `inputs` (B, ...), on the device of `inputs`.

        Args:
            numbers: the numbers of the wanted probes; None means 0 to n - 1.

        Raises:
            ValueError: if h is so small that the difference of the gradients is lost in their rounding.
        """
        short = inputs.dtype in (torch.bfloat16, torch.float16)
        precision = "bfloat16" if short else self.precision
        exact = inputs.dtype == torch.float64 and precision != "bfloat16"
        least = 0 if exact else SMALLEST_SCALE[precision]
        if self.scale < least and not isinstance(self, HessianProduct):
            raise ValueError(
                f"scale (h) is {self.scale}: at {precision} it should be at least {least}, or the "
                "difference of the gradients is lost in their rounding"
            )
        return [
            rademacher_probe(inputs.shape[1:], seed=self.seed, epoch=epoch, probe=number).to(inputs)
            for number in (range(self.probes) if numbers is None else numbers)
        ]

    @abstractmethod
    def products(
        self, network: Network, inputs: Tensor, labels: Tensor, gradient: Tensor, directions: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the estimate of H v, shaped like `inputs`, for each direction. `gradient` is at `inputs`."""

    def estimate(
        self, network: Network, inputs: Tensor, labels: Tensor, gradient: Tensor, directions: Sequence[Tensor]
    ) -> Tensor:
        """The curvature of each sample (B,), given its gradient. Call this within `measuring`."""
        total = torch.zeros(len(inputs), device=inputs.device)
        for norm in self.probe_norms(network, inputs, labels, gradient, directions):
            total += norm.square() if self.norm == "squared" else norm
        return total / len(directions)

    def probe_norms(
        self, network: Network, inputs: Tensor, labels: Tensor, gradient: Tensor, directions: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        """Yield ||p_k|| of each sample (B,) for each direction."""
        for product in self.products(network, inputs, labels, gradient, directions):
            yield product.flatten(1).norm(dim=1)


@dataclass(frozen=True)
class ForwardDifference(Estimator):
    """The paper's estimator: (g(x + h v) - g(x)) / h, g being the gradient of the loss; n + 1 gradients."""

    def products(
        self, network: Network, inputs: Tensor, labels: Tensor, gradient: Tensor, directions: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the difference between each displaced gradient and the given gradient, divided by h."""
        for direction in directions:
            moved = inputs + self.scale * direction
            yield (loss_gradient(network, moved, labels, self.precision)[1] - gradient) / self.scale


@dataclass(frozen=True)
class CentralDifference(Estimator):
    """(g(x + h v) - g(x - h v)) / 2h. For a smooth network the error falls with h^2; 2 n gradients."""

    def products(
        self, network: Network, inputs: Tensor, labels: Tensor, gradient: Tensor, directions: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the difference between the gradients on both sides, divided by 2h; `gradient` is not used."""
        for direction in directions:
            step = self.scale * direction
            ahead, behind = (loss_gradient(network, moved, labels, self.precision)[1]
                             for moved in (inputs + step, inputs - step))  # fmt: skip
            yield (ahead - behind) / (2 * self.scale)


@dataclass(frozen=True)
class HessianProduct(Estimator):
    """H v itself, by differentiating g . v once more: the limit h -> 0. It does not depend on `scale`.

    It takes one gradient with its graph and n backward passes through the graph. Autograd must be able to
    differentiate the network twice, which is not possible for a network compiled with torch.compile.
    Attention is computed step by step, because torch's fused kernels for it have no second derivative.

    Source: Pearlmutter, Neural Computation 1994.
    """

    @contextmanager
    def measuring(self, model: nn.Module) -> Iterator[None]:
        """As in `Estimator`."""
        with super().measuring(model), sdpa_kernel(SDPBackend.MATH):
            yield

    def products(
        self, network: Network, inputs: Tensor, labels: Tensor, gradient: Tensor, directions: Sequence[Tensor]
    ) -> Iterator[Tensor]:
        """Yield the derivative of the gradient along each direction."""
        with differentiating(inputs):
            leaf, _, loss = summed_loss(network, inputs, labels, self.precision)
            (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
            for direction in directions:
                along = (slope * direction).sum()
                # a piecewise linear network may have no second derivative at all
                (product,) = torch.autograd.grad(along, leaf, retain_graph=True, materialize_grads=True)
                yield product


ESTIMATORS: dict[Method, type[Estimator]] = {
    "forward": ForwardDifference,
    "central": CentralDifference,
    "hessian": HessianProduct,
}
"""The estimators by their name in the parameter file."""


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
    method: Method = "forward",
    precision: Precision = "float32",
) -> Tensor:
    """Per-sample curvature of the cross-entropy loss; see `Estimator` for the formula.

    The model may be any classifier whose samples do not affect each other in eval mode (batch norm must have
    running statistics). It is measured in eval mode and its state is restored. A compiled model
    (torch.compile) works too.

    Args:
        model: maps inputs to logits (B, classes).
        inputs: floating point (B, ...), normalized as in training.
        labels: int64 (B,), the given labels.
        scale, probes, norm, seed, precision: as in `Estimator`.
        epoch: 0 or more; the probes are drawn for it.
        method: one of `ESTIMATORS`.

    Returns:
        float32 (B,), in loss per squared unit of normalized input (the square of this for `squared`).

    Raises:
        ValueError: if an argument is out of its range or has another type or shape, h is too small for
            the precision, the model does not return logits, or a batch norm has no running statistics.

    Examples:
        >>> model = nn.Linear(3, 2)
        >>> curvature(model, torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), scale=0.1).shape
        torch.Size([4])
    """
    if method not in ESTIMATORS:
        raise ValueError(f"method is {method!r}: it should be one of {', '.join(ESTIMATORS)}")
    estimator = ESTIMATORS[method](scale, probes, norm, seed, precision)
    check_labels(inputs, labels)
    directions = estimator.directions(inputs, epoch)
    with estimator.measuring(model):
        logits, gradient = loss_gradient(model, inputs, labels, precision)
        check_classes(labels, logits.shape[1])
        return estimator.estimate(model, inputs, labels, gradient, directions)
