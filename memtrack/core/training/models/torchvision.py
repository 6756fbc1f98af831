"""torchvision's classifiers by name, and the weights that it offers for them."""

from __future__ import annotations

from typing import Any

from torch import nn

from memtrack.core.training.models.offered import OfferedWeights
from memtrack.core.training.models.shape import Shape

AUXILIARY = ("googlenet", "inception_v3")
"""Classifiers with auxiliary classifiers, with which they would return a tuple. Their weights are for inputs
that the network itself normalizes once more."""
AUXILIARY_WEIGHTS = ("aux1.", "aux2.", "AuxLogits.")
"""What the names of the weights of auxiliary classifiers begin with."""


def torchvision_model(
    shape: Shape, classes: int, *, name: str, small_stem: bool, pretrained: bool = False
) -> nn.Module:
    """A torchvision classifier by name, with random weights and a stem that fits the images' channels.

    With `small_stem`, a first convolution whose stride is above 1 becomes 3x3 with stride 1, and a
    max-pooling right after it is removed, as is usual for 32x32 images. Vision transformers keep their stem.

    Args:
        pretrained: whether torchvision's weights are to be loaded into it.

    Raises:
        ValueError: for a name that `classifier_names` does not list.
    """
    import torchvision.models as zoo  # takes a second, and the other networks do not need it

    if name not in classifier_names():
        raise ValueError(f"torchvision has no classifier {name!r}")
    extra: dict[str, Any] = {}
    if name in AUXILIARY:
        extra = {"aux_logits": False, "transform_input": pretrained}
    if name.startswith("vit_"):
        extra = {"image_size": shape[1]}
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


def offered_weights(name: str) -> dict[str, OfferedWeights]:
    """The weights that torchvision offers for a classifier, by name; DEFAULT are its best."""
    import torchvision.models as zoo

    kind: Any = zoo.get_model_weights(name)
    names: list[str] = [*kind.__members__]  # with aliases, and so with DEFAULT
    found = {}
    for key in names:
        chosen = kind[key]
        how = chosen.transforms()
        found[key] = OfferedWeights(
            chosen.name, chosen.url, tuple(how.mean), tuple(how.std), int(how.crop_size[0])
        )
    return found
