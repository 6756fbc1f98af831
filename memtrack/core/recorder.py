"""One sweep over the training samples: a model's epoch in, a few numbers per sample out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.curvature import FiniteDifference, loss_gradient, measuring

QUANTITIES: dict[str, type[np.generic]] = {
    "loss": np.float32,
    "probability": np.float32,
    "margin": np.float32,
    "correct": np.float32,
    "predicted": np.int32,
    "gradient_norm": np.float32,
    "curvature": np.float32,
}
"""What is recorded of every sample in every recorded epoch, and its type.

loss: cross-entropy of the given label, in nats. probability: softmax probability of the given label.
margin: its logit minus the largest other logit. correct: 1.0 where the prediction is the given label.
predicted: the class with the largest logit. gradient_norm: Euclidean norm of the gradient of the loss
with respect to the normalized input. curvature: see `FiniteDifference`.
"""

EpochRecord = dict[str, NDArray[np.generic]]


def record_epoch(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    estimator: FiniteDifference,
    *,
    epoch: int,
) -> EpochRecord:
    """Measure every sample once, in eval mode, with frozen parameters.

    Args:
        model: maps inputs to logits (B, classes); left as it was found.
        batches: (normalized inputs (B, ...), given labels int64 (B,)) in id order, without
            augmentation, on the model's device. How they are cut does not change the numbers.
        estimator: of the curvature.
        epoch: the probes are drawn for it.

    Returns:
        for each name in `QUANTITIES` an array of shape (N,) in the order of the batches.

    Raises:
        FloatingPointError: where a recorded number is not finite (the training has diverged).
    """
    parts: dict[str, list[NDArray[np.generic]]] = {name: [] for name in QUANTITIES}
    probes: list[Tensor] | None = None
    with measuring(model):
        for inputs, labels in batches:
            if probes is None:
                directions = estimator.directions(inputs.shape[1:], epoch)
                probes = [direction.to(inputs.device) for direction in directions]
            logits, gradient = loss_gradient(model, inputs, labels)
            measured = {
                **_from_logits(logits, labels),
                "gradient_norm": gradient.flatten(1).norm(dim=1),
                "curvature": estimator.estimate(model, inputs, labels, gradient, probes),
            }
            for name, values in measured.items():
                parts[name].append(values.cpu().numpy())
    record = {name: np.concatenate(parts[name]).astype(kind, copy=False) for name, kind in QUANTITIES.items()}
    for name, array in record.items():
        if not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise FloatingPointError(
                f"epoch {epoch}: {name} is not finite for {count} samples: the training has "
                "diverged; a smaller learning rate (train.optimizer.lr) usually mends it"
            )
    return record


def _from_logits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    loss = cross_entropy(logits, labels, reduction="none")
    predicted = logits.argmax(1)
    return {
        "loss": loss,
        "probability": torch.exp(-loss),
        "margin": (own - others.max(1, keepdim=True).values).squeeze(1),
        "correct": (predicted == labels).float(),
        "predicted": predicted,
    }
