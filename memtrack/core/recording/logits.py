"""What is measured of a sample from its logits alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
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
    (found,) = _record(model, ((inputs, labels[None]) for inputs, labels in batches), sets=1)
    return found


def record_logits_of_sets(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], labels: NDArray[np.int64]
) -> list[SampleArrays]:
    """Measure every sample as `record_logits` does, under several sets of labels in one pass.

    Args:
        batches: (normalized inputs (B, ...), anything), on the model's device, N samples in all.
        labels: the sets of labels, (K, N).

    Returns:
        what `record_logits` returns, for each of the K sets.

    Raises:
        FloatingPointError: as `record_logits`.
    """

    def labelled() -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for inputs, _ in batches:
            own = labels[:, start : start + len(inputs)]
            yield inputs, torch.from_numpy(own).to(inputs.device)
            start += len(inputs)

    return _record(model, labelled(), sets=len(labels))


def _record(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, sets: int) -> list[SampleArrays]:
    """What is measured under each set of labels. `batches`: inputs (B, ...) and labels (sets, B)."""
    parts: list[dict[str, list[Tensor]]] = [{} for _ in range(sets)]
    with frozen_eval(model), torch.no_grad():
        for inputs, labels in batches:
            logits = model(inputs).float()
            for found, own in zip(parts, labels, strict=True):
                for name, values in from_logits(logits, own).items():
                    found.setdefault(name, []).append(values)
    measured = [
        {name: torch.cat(values).cpu().numpy().astype(QUANTITIES[name]) for name, values in found.items()}
        for found in parts
    ]
    if not all(np.isfinite(values).all() for found in measured for values in found.values()):
        raise FloatingPointError("a recorded number is not finite: the training has diverged")
    return measured


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
