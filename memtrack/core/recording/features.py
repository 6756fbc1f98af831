"""The features of a network: the inputs of its last layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.recording.eval_mode import frozen_eval


def features(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[NDArray[np.float32]]:
    """The inputs of the linear layer that is called last, in eval mode; the logits if there is none.

    Yields:
        for each batch (inputs (B, ...), labels), an array (B, numbers).
    """
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with frozen_eval(model), torch.no_grad():
            for inputs, _ in batches:
                seen.clear()
                logits = model(inputs)
                yield (seen[-1] if seen else logits).flatten(1).float().cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()
