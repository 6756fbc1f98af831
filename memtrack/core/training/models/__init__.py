"""The networks by kind. Each kind has its own file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from memtrack.core.training.models.cnn import cnn
from memtrack.core.training.models.finetuning import Finetuning, finetuned
from memtrack.core.training.models.mlp import mlp
from memtrack.core.training.models.own import own_network
from memtrack.core.training.models.shape import Shape
from memtrack.core.training.models.timm import timm_model
from memtrack.core.training.models.torchvision import torchvision_model

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "cnn": cnn,
    "mlp": mlp,
    "torchvision": torchvision_model,
    "timm": timm_model,
    "python": own_network,
}


def build(
    kind: str, shape: Shape, classes: int, *, finetuning: Finetuning | None = None, **options: Any
) -> nn.Module:
    """Build a network of a kind. Its parameters come from torch's global generator, so seed that first.

    Args:
        shape: the shape of an image.
        finetuning: what the network starts from and what of it is trained; None: random weights, all of them.
        options: the arguments of the kind.
    """
    make = partial(BUILDERS[kind], **options)
    return make(shape, classes) if finetuning is None else finetuned(make, shape, classes, finetuning)
