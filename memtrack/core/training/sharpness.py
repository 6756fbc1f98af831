"""Sharpness-aware minimization: a step against the gradient at nearby weights where the loss is high."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from memtrack.core.training.distributed import ALONE, World
from memtrack.core.training.losses import Loss
from memtrack.core.training.steps import Batch, Step

TINY = 1e-12


class SharpnessAwareStep(Step):
    """SAM (Foret et al., ICLR 2021): w changes by the gradient at w + rho g / |g|, with g the gradient at w
    and |g| its norm over all parameters. The optimizer gets that gradient, at w.

    Each step takes two passes, and each pass draws its own dropout. Buffers, such as the statistics of batch
    norms, and what a loss observes are those of the first pass; so are the loss and the accuracy.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        loss: Loss | None = None,
        world: World = ALONE,
        *,
        rho: float,
    ) -> None:
        super().__init__(network, optimizer, loss, world)
        self._rho = rho

    def _before_step(self, batch: Batch) -> None:
        """Replace the gradient by the one nearby."""
        moved: list[Tensor] = [own for own in self.network.parameters() if own.grad is not None]
        buffers = list(self.network.buffers())
        with torch.no_grad():
            gradients = [own.grad for own in moved if own.grad is not None]
            factor = self._rho / (get_total_norm(gradients) + TINY)
            before = [own.clone() for own in moved]
            statistics = [buffer.clone() for buffer in buffers]
            torch._foreach_add_(moved, list(torch._foreach_mul(gradients, factor)))
        self._backward(self._outputs(batch), batch)
        with torch.no_grad():
            for tensor, value in zip((*moved, *buffers), (*before, *statistics), strict=True):
                tensor.copy_(value)
