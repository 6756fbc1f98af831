"""What is measured of a sample from its logits alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.recording.eval_mode import frozen_eval
from memtrack.core.recording.quantities import QUANTITIES, SampleArrays


def record_logits(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> SampleArrays:
    """Measure every sample once, in eval mode, without gradients: an array (N,) for each of `loss`,
    `probability`, `margin`, `correct`, `predicted` and `error_norm`.

    Args:
        model: maps inputs to logits (B, classes). Its state is restored.
        batches: (normalized inputs (B, ...), given labels int64 (B,)), on the model's device.

    Raises:
        FloatingPointError: if a number is not finite (the training has diverged).
    """
    parts: dict[str, list[Tensor]] = {}
    with frozen_eval(model), torch.no_grad():
        for inputs, labels in batches:
            for name, values in from_logits(model(inputs).float(), labels).items():
                parts.setdefault(name, []).append(values)
    found = {name: torch.cat(values).cpu().numpy().astype(QUANTITIES[name]) for name, values in parts.items()}
    if not all(torch.from_numpy(values).isfinite().all() for values in found.values()):
        raise FloatingPointError("a recorded number is not finite: the training has diverged")
    return found


def from_logits(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The quantities of a batch, each (B,), that need the logits (B, classes) and the given labels (B,)."""
    index = labels[:, None]
    given = index == torch.arange(logits.shape[1], device=logits.device)  # one-hot
    own, others = logits.gather(1, index), logits.masked_fill(given, -torch.inf)
    loss = cross_entropy(logits, labels, reduction="none")
    predicted = logits.argmax(1)
    return {
        "loss": loss,
        "probability": torch.exp(-loss),
        "margin": (own - others.max(1, keepdim=True).values).squeeze(1),
        "correct": (predicted == labels).float(),
        "predicted": predicted,
        "error_norm": (logits.softmax(1) - given.to(logits.dtype)).norm(dim=1),
    }
