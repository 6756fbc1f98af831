"""Two networks that are trained together."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.training.losses import Loss, exact


class MeanOfTwo(nn.Module):
    """The mean prediction of two networks.

    In training mode it returns the logits of both, (2, B, classes). In eval mode it returns the logarithm of
    the mean of their softmaxes, (B, classes): cross entropy, probability and margin of these logits are those
    of the mean prediction.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits of a batch (B, ...)."""
        both = torch.stack([self.first(inputs), self.second(inputs)])
        return both if self.training else _log_mean(both)


class JoCoR(Loss):
    """Joint training with co-regularization of a `MeanOfTwo` (Wei et al., CVPR 2020). The loss of a sample is

        (1 - weight) (CE_1 + CE_2) + weight (KL(p_1 | p_2) + KL(p_2 | p_1)),

    and the loss of a batch is the mean over the samples with the smallest losses: all in the first epoch,
    and then fewer, until after `warmup` epochs the share `forget_rate` is left out.
    """

    def __init__(self, weight: float, forget_rate: float, warmup: int) -> None:
        super().__init__()
        self._weight, self._forget_rate, self._warmup = weight, forget_rate, warmup
        self.left_out = 0.0

    def start_epoch(self, epoch: int) -> None:
        """Set the share of each batch that is left out."""
        self.left_out = self._forget_rate * min((epoch - 1) / self._warmup, 1.0)

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The losses (B,) of samples, from the logits (2, B, classes) of both networks."""
        first, second = exact(outputs)
        given = cross_entropy(first, labels, reduction="none") + cross_entropy(
            second, labels, reduction="none"
        )
        one, other = first.log_softmax(1), second.log_softmax(1)
        apart = ((one.exp() - other.exp()) * (one - other)).sum(1)  # both divergences
        return (1 - self._weight) * given + self._weight * apart

    def forward(
        self, outputs: Tensor, labels: Tensor, rows: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """See `Loss`; the outputs are (2, B, classes). With weights it is the weighted mean over the samples
        that are kept, times the mean weight of the batch."""
        losses = self.losses(outputs, labels)
        kept = max(int((1 - self.left_out) * len(losses)), 1)
        smallest = losses.detach().argsort(stable=True)[:kept]
        if weights is None:
            return losses[smallest].mean()
        chosen = weights[smallest].to(losses.dtype)
        total = chosen.sum().clamp(min=torch.finfo(losses.dtype).tiny)
        return (losses[smallest] * chosen).sum() / total * weights.mean().to(losses.dtype)

    def logits(self, outputs: Tensor) -> Tensor:
        """Those of the mean prediction."""
        return _log_mean(outputs)


def _log_mean(logits: Tensor) -> Tensor:
    """The logarithm of the mean of two softmaxes, from logits (2, B, classes)."""
    return exact(logits).log_softmax(2).logsumexp(0) - math.log(2)
