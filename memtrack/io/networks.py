"""The network of params.yaml for a data set: untrained, or as a training left it."""

from __future__ import annotations

import torch
from torch import nn

from memtrack.core import models
from memtrack.core.training import pick_device
from memtrack.io.checkpoints import Checkpoints
from memtrack.io.dataset import DatasetRecord
from memtrack.io.params import ModelParams, Params, mistake
from memtrack.io.problems import InputError, Problem
from memtrack.io.validation import nearest


def chosen_device(params: Params) -> torch.device:
    """As train.device says; `InputError` where this machine has no such device."""
    try:
        return pick_device(params.train.device)
    except ValueError as error:
        raise mistake("train", "device", message=str(error)) from None


def network(
    chosen: ModelParams, record: DatasetRecord, where: tuple[str, ...] = ("train", "model")
) -> nn.Module:
    """The untrained network that the key `where` of params.yaml asks for.

    Raises:
        InputError: where torchvision lacks it, or where it cannot take the images.
    """
    if chosen.kind == "torchvision" and chosen.name not in models.classifier_names():
        hint = nearest(chosen.name, models.classifier_names())
        raise mistake(*where, "name", message=f"torchvision has no classifier {chosen.name!r}{hint}")
    try:
        model = models.build(shape=record.shape, classes=len(record.classes), **chosen.model_dump())
        model.eval()(torch.zeros(2, *record.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, record.shape))
        raise mistake(
            *where, message=f"cannot take images of {size} (channels x height x width): {error}"
        ) from None
    return model


def trained_network(
    chosen: ModelParams, record: DatasetRecord, checkpoints: Checkpoints, epoch: int, *, remedy: str
) -> nn.Module:
    """The network after an epoch; `InputError` that ends with `remedy` where its file is damaged."""
    broken = checkpoints.damaged(epoch)
    if broken is not None:
        raise InputError([Problem(broken, message=f"is damaged: {remedy}")])
    model = network(chosen, record)
    checkpoints.load(epoch, model)
    return model
