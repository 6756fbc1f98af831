"""What networks make of samples that they were not trained on, from the logits alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.recording.eval_mode import frozen_eval
from memtrack.core.recording.logits import from_logits
from memtrack.core.recording.quantities import QUANTITIES, SampleArrays


def record_held_out(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], labels: NDArray[np.int64]
) -> list[SampleArrays]:
    """Measure every sample as `record_logits` does, under several sets of labels in one pass.

    Args:
        model: maps inputs to logits (B, classes). Its state is restored.
        batches: (normalized inputs (B, ...), anything), on the model's device, N samples in all.
        labels: the sets of labels, (K, N).

    Returns:
        for each of the K sets an array (N,) for each quantity that needs the logits alone.

    Raises:
        FloatingPointError: if a number is not finite (the training has diverged).
    """
    parts: list[dict[str, list[Tensor]]] = [{} for _ in labels]
    start = 0
    with frozen_eval(model), torch.no_grad():
        for inputs, _ in batches:
            logits = model(inputs).float()
            here = torch.from_numpy(labels[:, start : start + len(logits)]).to(logits.device)
            start += len(logits)
            for found, own in zip(parts, here, strict=True):
                for name, values in from_logits(logits, own).items():
                    found.setdefault(name, []).append(values)
    sets = [
        {name: torch.cat(values).cpu().numpy().astype(QUANTITIES[name]) for name, values in found.items()}
        for found in parts
    ]
    if not all(np.isfinite(values).all() for found in sets for values in found.values()):
        raise FloatingPointError("a recorded number is not finite: the training has diverged")
    return sets
