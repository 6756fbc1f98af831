"""The device and the network that params.yaml asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from memtrack.config.errors import InputError
from memtrack.config.sections.record import RecordParams
from memtrack.config.sections.robust import RobustParams
from memtrack.config.sections.train import (
    Cnn,
    Library,
    Mlp,
    ModelParams,
    OwnModel,
    RecipeParams,
    TorchvisionModel,
    TrainParams,
)
from memtrack.core.images.pixels import is_vector
from memtrack.core.training import models
from memtrack.core.training.co_training import MeanOfTwo
from memtrack.core.training.devices import free_on_gpu, pick_device
from memtrack.core.training.memory import saved_bytes, weight_bytes
from memtrack.core.training.models.finetuning import Finetuned, OtherWeights
from memtrack.core.training.models.outputs import are_probabilities
from memtrack.core.training.models.own import WrongFunction, described
from memtrack.core.training.precision import TrainingPrecision, fastest_precision
from memtrack.data.prepared import DatasetInfo
from memtrack.runs.pretrained import check_name, finetuning, starting_weights


def chosen_device(train: TrainParams) -> torch.device:
    """The device of train.device; `InputError` if this machine does not have it."""
    try:
        return pick_device(train.device)
    except ValueError as error:
        raise train.mistake("device", message=str(error)) from None


def chosen_precision(train: TrainParams, device: torch.device) -> TrainingPrecision:
    """The precision of train.precision on this device; `InputError` if the device does not have it."""
    if train.precision == "auto":
        return fastest_precision(device)
    if train.precision == "tf32" and device.type != "cuda":
        raise train.mistake(
            "precision", message=f"only NVIDIA's GPUs have tf32, and this is {device}: write auto or float32"
        )
    return train.precision


def network(chosen: ModelParams, info: DatasetInfo) -> nn.Module:
    """The network that `chosen` describes, for the images and classes of a data set, with random weights.

    Raises:
        InputError: if it cannot be built, if this machine's memory cannot hold it, or if it cannot take the
            images.
    """
    check_name(chosen)
    if is_vector(info.shape) and not isinstance(chosen, Mlp | OwnModel):
        text = f"is for images, and the samples are vectors of {info.shape[0]} features: choose mlp or python"
        raise chosen.mistake("kind", message=text)
    needed, free = _weights(chosen, info), free_bytes(torch.device("cpu"))
    if needed > free:
        text = f"its weights alone take {_gb(needed)}, and this machine has {_gb(free)} free"
        raise chosen.mistake(message=f"{text}: choose a smaller network")
    try:
        model = builder(chosen, info)()
    except WrongFunction as error:
        raise chosen.mistake(error.key, message=str(error)) from None
    except (RuntimeError, ValueError, AssertionError) as error:
        raise _no_images(chosen, info, error) from None
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(2, *info.shape))
    except Exception as error:
        if not isinstance(chosen, OwnModel) and not isinstance(
            error, (RuntimeError, ValueError, AssertionError)
        ):
            raise
        raise _no_images(chosen, info, error) from None
    _check_logits(chosen, logits, len(info.classes))
    return model


def training_network(chosen: ModelParams, info: DatasetInfo, robust: RobustParams) -> nn.Module:
    """What a training trains: the network, or with co-training two of them with different random weights.
    Raises what `network` does."""
    first = network(chosen, info)
    return first if robust.co_training is None else MeanOfTwo(first, network(chosen, info))


def untrained_network(train: TrainParams, info: DatasetInfo) -> nn.Module:
    """The network that the training with these parameters begins with; raises as `network` and
    `load_starting_weights`."""
    torch.manual_seed(train.seed)
    model = training_network(train.model, info, train)
    load_starting_weights(model, train.model)
    return model


def load_starting_weights(model: nn.Module, chosen: ModelParams) -> dict[str, Tensor]:
    """Load the weights that `chosen` names into its network, or into both of them, if it names any; returns
    them.

    Raises:
        InputError: if they are not there, cannot be read, or are those of another network.
    """
    weights = starting_weights(chosen)
    if weights is None:
        return {}
    networks = [module for module in model.modules() if isinstance(module, Finetuned)]
    assert networks
    try:
        for each in networks:
            each.load(weights)
    except OtherWeights as error:
        text = f"are not those of this network: {error}"
        raise chosen.mistake("weights", message=text) from None
    return weights


def builder(
    chosen: ModelParams, info: DatasetInfo, weights: Mapping[str, Any] | None = None
) -> Callable[[], nn.Module]:
    """A function that builds the network; it can be pickled. `weights` are those that it starts from."""
    options = chosen.model_dump(exclude={"kind", *Library.model_fields})
    match chosen:
        case TorchvisionModel(name=name, small_stem=small):
            # where images are enlarged, the network keeps its own first layers
            whole = chosen.weights is not None or chosen.input_size is not None
            options = {
                "name": name,
                "small_stem": not whole if small is None else small,
                "pretrained": chosen.weights is not None,
            }
        case OwnModel():
            options["root"] = str(Path.cwd())
    return partial(
        models.build,
        chosen.kind,
        info.shape,
        len(info.classes),
        finetuning=finetuning(chosen, info, weights),
        **options,
    )


def _no_images(chosen: ModelParams, info: DatasetInfo, error: Exception) -> InputError:
    size = "x".join(map(str, info.shape))
    why = "memory is too small" if "allocate memory" in str(error) else str(error)
    text = f"cannot take images of {size} (channels x height x width): {why}"
    if isinstance(chosen, OwnModel):
        return chosen.mistake("make", message=f"the network {text}: {described(error, Path.cwd())}")
    return chosen.mistake(message=text)


def _check_logits(chosen: ModelParams, logits: Any, classes: int) -> None:
    """`InputError` unless a network returned logits (2, classes) for two images."""
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        text = f"for 2 images the network returns {found}: it should return logits (2, {classes})"
    elif are_probabilities(logits):
        text = "the network returns probabilities: it should return logits, so leave out its softmax"
    else:
        return
    raise chosen.mistake(*(["make"] if isinstance(chosen, OwnModel) else []), message=text)


def _weights(chosen: ModelParams, info: DatasetInfo) -> int:
    """The bytes of a network's weights, found without allocating them; 0 for networks of others, which have
    some GB at most."""
    if not isinstance(chosen, (Cnn, Mlp)):
        return 0
    with torch.device("meta"):
        return weight_bytes(builder(chosen, info)())


LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""The memory that a container may have (cgroups 2 and 1): what the machine has says nothing there."""


def free_bytes(device: torch.device) -> int:
    """The memory of a device that is free; on a CPU with what can be swapped."""
    if device.type == "cuda":
        return free_on_gpu(device)
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
    robust: RobustParams | None = None,
    record: RecordParams | None = None,
    processes: int = 1,
    free: int | None = None,
) -> None:
    """Compare the memory that a training needs at least with what the device has.

    Counted are the weights, their gradients, the state of the optimizer, and what the forward pass of a batch
    keeps for the backward pass. A training that passes may need more.

    Args:
        samples: the number of training samples. robust: options of the training that need more.
        record: look at the batches of the sweep too, and at the copy for the susceptibility.
        processes: how many share each batch, and the memory if the device is the CPU.
        free: the bytes that the device has; None: those of now.

    Raises:
        InputError: if the memory is too small, with the keys to lower; see also `network`.
    """
    optimizer, free = recipe.optimizer, free_bytes(device) if free is None else free
    copies = 4 if optimizer.kind == "adamw" else 2 + int(optimizer.momentum > 0)
    if record is not None and record.susceptibility:  # a copy of network and optimizer takes a step
        copies *= 2
    robust = RobustParams() if robust is None else robust
    copies += (robust.average is not None) + (robust.sam is not None)
    networks = 1 if robust.co_training is None else 2
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

    check(networks * copies * _weights(recipe.model, info), 0)  # before the network is built
    model = training_network(recipe.model, info, robust)
    trained = weight_bytes(model, trained=True)
    check(
        weight_bytes(model) + (copies - 1) * trained,
        saved_bytes(model, torch.zeros(2, *info.shape)) * batch // 2,
    )
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
