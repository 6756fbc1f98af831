"""The untrained networks by kind. Each kind has its own file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from memtrack.core.training.models.cnn import cnn
from memtrack.core.training.models.mlp import mlp
from memtrack.core.training.models.shape import Shape
from memtrack.core.training.models.torchvision import torchvision_model

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "mlp": mlp,
    "torchvision": torchvision_model,
}


def build(kind: str, shape: Shape, classes: int, **options: Any) -> nn.Module:
    """Build a network of a kind. Its parameters come from torch's global generator, so seed that first."""
    return BUILDERS[kind](shape, classes, **options)
