"""The device and the untrained network that params.yaml asks for."""

from __future__ import annotations

import torch
from torch import nn

from memtrack.config.sections.train import ModelParams, TrainParams
from memtrack.config.validation import nearest
from memtrack.core.training import models
from memtrack.core.training.devices import pick_device
from memtrack.core.training.models.torchvision import classifier_names
from memtrack.data.prepared import DatasetInfo


def chosen_device(train: TrainParams) -> torch.device:
    """The device of train.device; `InputError` if this machine does not have it."""
    try:
        return pick_device(train.device)
    except ValueError as error:
        raise train.mistake("device", message=str(error)) from None


def network(chosen: ModelParams, info: DatasetInfo) -> nn.Module:
    """The untrained network that `chosen` describes, for the images and classes of a data set.

    Raises:
        InputError: if torchvision does not have it, or if it cannot take the images.
    """
    if chosen.kind == "torchvision" and chosen.name not in classifier_names():
        hint = nearest(chosen.name, classifier_names())
        raise chosen.mistake("name", message=f"torchvision has no classifier {chosen.name!r}{hint}")
    try:
        model = models.build(shape=info.shape, classes=len(info.classes), **chosen.model_dump())
        model.eval()(torch.zeros(2, *info.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, info.shape))
        raise chosen.mistake(
            message=f"cannot take images of {size} (channels x height x width): {error}"
        ) from None
    return model
