"""What networks return."""

from __future__ import annotations

import torch
from torch import Tensor


def are_probabilities(outputs: Tensor) -> bool:
    """Whether outputs (B, classes) are probabilities: a network with a softmax at its end gives no logits."""
    off = (outputs.double().sum(dim=1) - 1).abs().max()
    return bool((outputs >= 0).all() and off < 10 * torch.finfo(outputs.dtype).eps)
