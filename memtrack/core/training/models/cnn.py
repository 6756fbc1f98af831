"""A small convolutional network."""

from __future__ import annotations

from torch import nn

from memtrack.core.training.models.shape import Shape


def cnn(shape: Shape, classes: int, *, width: int, depth: int, dropout: float) -> nn.Module:
    """A small convolutional network that trains in a minute on two cores.

    It has `depth` blocks, each with two 3x3 convolutions followed by batch norm and ReLU. The first block
    has `width` channels, and each following block twice as many. Images are halved between blocks while
    they are larger than 3 pixels. The head is the mean over the image, dropout and a linear layer.
    """
    channels, side, wide = shape[0], min(shape[1:]), width
    layers: list[nn.Module] = []
    for block in range(depth):
        if block and side > 3:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        for _ in range(2):
            layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(wide), nn.ReLU()]
            channels = wide
        wide *= 2
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(channels, classes),
    ]
    return nn.Sequential(*layers, *head)
