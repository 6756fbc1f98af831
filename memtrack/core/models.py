"""The networks, untrained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

Shape = tuple[int, int, int]
"""Shape of an image: (channels, height, width)."""


def cnn(shape: Shape, classes: int, *, width: int, depth: int, dropout: float) -> nn.Module:
    """A small convolutional network that trains in a minute on two cores.

    `depth` blocks of convolution 3x3, batch norm and ReLU, the first with `width` channels and each
    next with twice as many; images are halved between blocks while they are larger than 3 pixels;
    then the mean over the image, dropout and a linear layer.
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


def mlp(shape: Shape, classes: int, *, width: int, depth: int, dropout: float) -> nn.Module:
    """`depth` hidden layers of `width` ReLU units, dropout before the last layer."""
    inputs = shape[0] * shape[1] * shape[2]
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(inputs, classes))


def torchvision_model(shape: Shape, classes: int, *, name: str, small_stem: bool) -> nn.Module:
    """A torchvision classifier by name, with random weights and a stem for the images' channels.

    With `small_stem` the first convolution has stride 1 (and is 3x3 where it was 7x7) and a
    max-pooling right after it is left out, as is usual for 32x32 images.

    Raises:
        ValueError: for a name that `classifier_names` does not list.
    """
    import torchvision.models as zoo  # takes a second, and the other networks do without

    if name not in classifier_names():
        raise ValueError(f"torchvision has no classifier {name!r}")
    # googlenet and inception_v3 would return a tuple from their auxiliary classifiers
    extra = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = zoo.get_model(name, weights=None, num_classes=classes, **extra)
    path, first = next(
        (path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)
    )
    kernel: Any = first.kernel_size
    stride: Any = first.stride
    padding: Any = first.padding
    patches = kernel == stride  # a vision transformer cuts the image here
    if small_stem and not patches and max(stride) > 1:
        kernel, stride, padding = (3, 3), (1, 1), (1, 1)
        _drop_first_pooling(model)
    if (first.in_channels, first.stride) != (shape[0], stride):
        bias = first.bias is not None
        stem = nn.Conv2d(shape[0], first.out_channels, kernel, stride, padding, bias=bias)
        _replace(model, path, stem)
    return model


def _drop_first_pooling(model: nn.Module) -> None:
    """Leave out a max-pooling between the first convolution and the second."""
    convolutions = 0
    for path, module in model.named_modules():
        convolutions += isinstance(module, nn.Conv2d)
        if isinstance(module, nn.MaxPool2d) and convolutions == 1:
            _replace(model, path, nn.Identity())
            return


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def classifier_names() -> list[str]:
    """The names of torchvision's image classifiers."""
    import torchvision.models as zoo

    names: list[str] = zoo.list_models(module=zoo)
    return names


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "mlp": mlp,
    "torchvision": torchvision_model,
}


def build(kind: str, shape: Shape, classes: int, **options: Any) -> nn.Module:
    """A network by kind; its parameters come from torch's global generator, so seed that first."""
    return BUILDERS[kind](shape, classes, **options)
