"""A fully connected network."""

from __future__ import annotations

from torch import nn

from memtrack.core.training.models.shape import Shape


def mlp(shape: Shape, classes: int, *, width: int, depth: int, dropout: float) -> nn.Module:
    """A network of `depth` hidden layers of `width` ReLU units, with dropout before the last layer."""
    inputs = shape[0] * shape[1] * shape[2]
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(inputs, classes))
