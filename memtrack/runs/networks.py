"""The device and the untrained network that params.yaml asks for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch
from torch import nn

from memtrack.config.sections.record import RecordParams
from memtrack.config.sections.train import ModelParams, RecipeParams, TrainParams
from memtrack.config.validation import nearest
from memtrack.core.training import models
from memtrack.core.training.devices import pick_device
from memtrack.core.training.memory import saved_bytes, weight_bytes
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
        InputError: if torchvision does not have it, if this machine's memory cannot hold it, or if it cannot
            take the images.
    """
    if chosen.kind == "torchvision" and chosen.name not in classifier_names():
        hint = nearest(chosen.name, classifier_names())
        raise chosen.mistake("name", message=f"torchvision has no classifier {chosen.name!r}{hint}")
    needed, free = _weights(chosen, info), free_bytes(torch.device("cpu"))
    if needed > free:
        text = f"its weights alone take {_gb(needed)}, and this machine has {_gb(free)} free"
        raise chosen.mistake(message=f"{text}: choose a smaller network")
    try:
        model = models.build(shape=info.shape, classes=len(info.classes), **chosen.model_dump())
        with torch.no_grad():
            model.eval()(torch.zeros(2, *info.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, info.shape))
        why = "memory is too small" if "allocate memory" in str(error) else str(error)
        raise chosen.mistake(
            message=f"cannot take images of {size} (channels x height x width): {why}"
        ) from None
    return model


def _weights(chosen: ModelParams, info: DatasetInfo) -> int:
    """The bytes of a network's weights, found without allocating them; 0 for the networks of torchvision,
    which have some GB at most."""
    if chosen.kind == "torchvision":
        return 0
    with torch.device("meta"):
        return weight_bytes(models.build(shape=info.shape, classes=len(info.classes), **chosen.model_dump()))


LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""The memory that a container may have (cgroups 2 and 1): what the machine has says nothing there."""


def free_bytes(device: torch.device) -> int:
    """The memory of a device that is free; on a CPU with what can be swapped."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by this process
        return torch.cuda.mem_get_info(device)[0] + kept
    free = psutil.virtual_memory().available
    for limit in map(Path, LIMITS):
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            free = min(free, int(limit.read_text()))
    return int(free + psutil.swap_memory().free)


def check_memory(
    recipe: RecipeParams,
    info: DatasetInfo,
    samples: int,
    device: torch.device,
    *,
    record: RecordParams | None = None,
    processes: int = 1,
    free: int | None = None,
) -> None:
    """Compare the memory that a training needs at least with what the device has.

    Counted are the weights, their gradients, the state of the optimizer, and what the forward pass of a batch
    keeps for the backward pass. A training that passes may need more.

    Args:
        samples: the number of training samples. record: look at the batches of the sweep too.
        processes: how many share each batch, and the memory if the device is the CPU.
        free: the bytes that the device has; None: those of now.

    Raises:
        InputError: if the memory is too small, with the keys to lower; see also `network`.
    """
    optimizer, free = recipe.optimizer, free_bytes(device) if free is None else free
    copies = 4 if optimizer.kind == "adamw" else 2 + int(optimizer.momentum > 0)
    batch = -(-min(recipe.batch_size, samples) // processes)
    free = free // processes if device.type == "cpu" else free

    def check(weights: int, images: int) -> None:
        if weights + images <= free:
            return
        text = (
            f"a training needs at least {_gb(weights + images)} ({_gb(weights)} for the network and its "
            f"optimizer, {_gb(images)} for a batch of {batch} images), and {device} has {_gb(free)} free"
        )
        if images > weights:
            raise recipe.mistake(
                "batch_size", message=f"{text}: lower it, or data.image_size, or the network"
            )
        raise recipe.mistake("model", message=f"{text}: choose a smaller network")

    check(copies * _weights(recipe.model, info), 0)  # before the network is built
    model = network(recipe.model, info)
    check(copies * weight_bytes(model), saved_bytes(model, torch.zeros(2, *info.shape)) * batch // 2)
    if record is not None and record.batch_size is not None:
        batch, number = min(record.batch_size, samples), 2 if record.precision == "bfloat16" else 4
        swept = torch.zeros(2, *info.shape, requires_grad=True)  # the sweep has no gradients of the weights
        needed = saved_bytes(model.requires_grad_(False), swept) * batch // 2 * number // 4
        if needed > free:
            text = (
                f"a sweep needs at least {_gb(needed)} for {batch} images, and {device} has {_gb(free)} free"
            )
            raise record.mistake("batch_size", message=f"{text}: lower it")


def _gb(number: int) -> str:
    return f"{number / 1e9:.3g} GB"
