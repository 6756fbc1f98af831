"""Mixtures of pairs of training images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from memtrack.core.training.steps import Batch


@dataclass(frozen=True)
class Mixup:
    """Trains on lambda x_i + (1 - lambda) x_j in place of each image x_i (Zhang et al., ICLR 2018).

    The loss is lambda times that of the label of i plus 1 - lambda times that of the label of j. j is a
    random permutation of the batch, and lambda, one for the batch, is drawn from Beta(alpha, alpha).
    """

    alpha: float

    def __call__(self, batch: Batch, draw: np.random.Generator) -> Batch:
        """Mix a whole batch; a GPU is not waited for."""
        share, inputs = draw.beta(self.alpha, self.alpha), batch.inputs
        order = torch.from_numpy(draw.permutation(len(inputs)))
        if inputs.device.type == "cuda":
            order = order.pin_memory()
        order = order.to(inputs.device, non_blocking=True)
        (target,) = batch.targets
        other = target._replace(
            labels=target.labels[order],
            rows=None if target.rows is None else target.rows[order],
            weight=1 - share,
            weights=None if target.weights is None else target.weights[order],
        )
        mixed = inputs.lerp(inputs[order], 1 - share)
        return replace(batch, inputs=mixed, targets=(target._replace(weight=share), other))
