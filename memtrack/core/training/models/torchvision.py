"""torchvision's classifiers by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from memtrack.core.training.models.shape import Shape


def torchvision_model(shape: Shape, classes: int, *, name: str, small_stem: bool) -> nn.Module:
    """A torchvision classifier by name, with random weights and a stem that fits the images' channels.

    With `small_stem`, a first convolution whose stride is above 1 becomes 3x3 with stride 1, and a
    max-pooling right after it is removed, as is usual for 32x32 images. Vision transformers keep their stem.

    Raises:
        ValueError: for a name that `classifier_names` does not list.
    """
    import torchvision.models as zoo  # takes a second, and the other networks do not need it

    if name not in classifier_names():
        raise ValueError(f"torchvision has no classifier {name!r}")
    # with their auxiliary classifiers, googlenet and inception_v3 would return a tuple
    extra = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = zoo.get_model(name, weights=None, num_classes=classes, **extra)
    path, first = next(
        (path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)
    )
    kernel: Any = first.kernel_size
    stride: Any = first.stride
    padding: Any = first.padding
    patches = kernel == stride  # a vision transformer cuts the image into patches here
    if small_stem and not patches and max(stride) > 1:
        kernel, stride, padding = (3, 3), (1, 1), (1, 1)
        _drop_first_pooling(model)
    if (first.in_channels, first.stride) != (shape[0], stride):
        bias = first.bias is not None
        stem = nn.Conv2d(shape[0], first.out_channels, kernel, stride, padding, bias=bias)
        _replace(model, path, stem)
    return model


def _drop_first_pooling(model: nn.Module) -> None:
    """Remove a max-pooling between the first convolution and the second."""
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
