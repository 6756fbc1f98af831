"""The losses that a network is trained with. What is recorded is always the cross entropy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.training.distributed import World

ENTROPY_OF_ZERO = -4.0
"""What stands for log 0 in the symmetric cross entropy."""
SMALLEST = 1e-4
"""Early-learning regularization clamps probabilities to [SMALLEST, 1 - SMALLEST], as its authors do."""


class Loss(nn.Module):
    """The mean loss over a batch, or the mean of each sample's loss times its weight. What it has learned
    itself is in its `state_dict`.

    Attributes:
        needs_rows: whether it asks which samples are in a batch.
    """

    needs_rows = False

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """The loss, a scalar, of what the network returned in training mode (B, classes) and the labels (B,).
        `rows` (B,) are the numbers of the samples, and `weights` (B,) their weights; None: all are 1."""
        raise NotImplementedError

    def logits(self, outputs: Tensor) -> Tensor:
        """The logits (B, classes) of the prediction."""
        return outputs

    def observe(self, outputs: Tensor, rows: Tensor | None) -> None:
        """Learn from the outputs for a batch; called once in each step, before the loss is computed."""

    def start_epoch(self, epoch: int) -> None:
        """Get ready for an epoch; the first is 1."""

    def end_epoch(self, world: World, rows: Tensor | None) -> None:
        """Give all processes the same state. `rows` are the samples that this process has observed."""


class CrossEntropy(Loss):
    """The cross entropy. With label smoothing s, the label's target is 1 - s + s / classes, and that of the
    other classes s / classes (Szegedy et al., CVPR 2016)."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self._smoothing = label_smoothing

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """See `Loss`."""
        if weights is None:
            return cross_entropy(outputs, labels, label_smoothing=self._smoothing)
        losses = cross_entropy(outputs, labels, label_smoothing=self._smoothing, reduction="none")
        return weighted_mean(losses, weights)


class SymmetricCrossEntropy(Loss):
    """alpha CE + beta RCE (Wang et al., ICCV 2019). The reverse cross entropy RCE = -sum_k p_k log q_k has
    the one-hot label q, and -4 for log 0; so it is 4 (1 - p_y)."""

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        super().__init__()
        self._alpha, self._beta = alpha, beta

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """See `Loss`."""
        losses = cross_entropy(exact(outputs), labels, reduction="none")
        reverse = ENTROPY_OF_ZERO * torch.expm1(-losses)  # 1 - p_y without cancellation
        return weighted_mean(self._alpha * losses + self._beta * reverse, weights)


class GeneralizedCrossEntropy(Loss):
    """(1 - p_y^q) / q (Zhang & Sabuncu, NeurIPS 2018): the cross entropy for q near 0, the mean absolute
    error for q = 1."""

    def __init__(self, q: float = 0.7) -> None:
        super().__init__()
        self._q = q

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """See `Loss`."""
        losses = cross_entropy(exact(outputs), labels, reduction="none")
        return weighted_mean(-torch.expm1(-self._q * losses) / self._q, weights)


class EarlyLearning(Loss):
    """Cross entropy with early-learning regularization, ELR (Liu et al., NeurIPS 2020):

        CE + weight * mean over the batch of log(1 - <t, p>)

    p is the clamped softmax of a sample. t is a moving average of it: whenever the sample is trained on,
    t becomes momentum * t + (1 - momentum) * p / sum(p), and no gradient flows through t. At first t is 0.

    With mixup the loss of each of the two labels has the t of the sample that the label belongs to. The
    prediction for a mixed image moves the t of the sample that has the larger part in it.

    Args:
        samples: the number of training samples. t takes samples x classes numbers.
    """

    needs_rows = True
    targets: Tensor

    def __init__(self, samples: int, classes: int, *, weight: float = 3.0, momentum: float = 0.7) -> None:
        super().__init__()
        self._weight, self._momentum = weight, momentum
        self.register_buffer("targets", torch.zeros(samples, classes))

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """See `Loss`."""
        assert rows is not None
        agreement = (self.targets[rows] * _clamped(outputs)).sum(1)
        reduction = "mean" if weights is None else "none"
        given = cross_entropy(exact(outputs), labels, reduction=reduction)
        if weights is not None:
            given = weighted_mean(given, weights)
        return given + self._weight * weighted_mean(torch.log1p(-agreement), weights)

    @torch.no_grad()
    def observe(self, outputs: Tensor, rows: Tensor | None) -> None:
        """Move the targets of the samples."""
        assert rows is not None
        found = _clamped(outputs)
        found = (found / found.sum(1, keepdim=True)).to(self.targets.dtype)
        moved = self._momentum * self.targets[rows] + (1 - self._momentum) * found
        self.targets.index_copy_(0, rows, moved)

    def end_epoch(self, world: World, rows: Tensor | None) -> None:
        """Give all processes the targets of all samples; each sample was observed by one process at most."""
        if world.size == 1:
            return
        assert rows is not None
        ours = torch.zeros_like(self.targets[:, :1]).index_fill_(0, rows, 1)
        observed = world.total(ours) > 0
        together = world.total(torch.where(ours > 0, self.targets, torch.zeros_like(self.targets)))
        self.targets.copy_(torch.where(observed, together, self.targets))


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of the losses (B,), each times its weight (B,); None: all weights are 1."""
    return losses.mean() if weights is None else (losses * weights.to(losses.dtype)).mean()


def exact(outputs: Tensor) -> Tensor:
    """The outputs in float32, or in float64 if they are that."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _clamped(outputs: Tensor) -> Tensor:
    return exact(outputs).softmax(1).clamp(SMALLEST, 1 - SMALLEST)


def build_loss(kind: str, *, samples: int, classes: int, **options: Any) -> Loss:
    """A loss by name, for a training on `samples` samples.

    Args:
        kind: cross_entropy (label_smoothing), symmetric_cross_entropy (alpha, beta),
            generalized_cross_entropy (q) or early_learning (weight, momentum).
    """
    if kind == "early_learning":
        return EarlyLearning(samples, classes, **options)
    kinds: dict[str, type[Loss]] = {
        "cross_entropy": CrossEntropy,
        "symmetric_cross_entropy": SymmetricCrossEntropy,
        "generalized_cross_entropy": GeneralizedCrossEntropy,
    }
    return kinds[kind](**options)
