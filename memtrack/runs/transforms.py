"""The transforms that train.augment names."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.augment import Transform
from memtrack.config.sections.train import TrainParams
from memtrack.config.validation import nearest
from memtrack.core.training.transforms import Transforms
from memtrack.data.prepared import DatasetInfo

TRIALS = 8
"""How often each transform is tried on an image before training."""


def chosen_transforms(train: TrainParams, info: DatasetInfo) -> Transforms | None:
    """The transforms of train.augment for the images of a data set; None if it names none.

    Raises:
        InputError: if torchvision does not have them, or cannot use their options or these images.
    """
    found: list[Callable[[Tensor], Tensor]] = []
    problems: list[Problem] = []
    for chosen in train.augment.transforms:
        try:
            found.append(_built(chosen, info))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return Transforms(found, seed=train.seed) if found else None


def _built(chosen: Transform, info: DatasetInfo) -> Any:
    import torchvision  # takes a second, and most trainings do not need it
    from torchvision.transforms import v2

    kind = getattr(v2, chosen.name, None)
    if kind is None:
        text = f"torchvision {torchvision.__version__} does not have it: install a newer one"
        raise chosen.mistake("name", message=text)
    options = _checked(chosen, inspect.signature(kind).parameters, info)
    for option, values in (("interpolation", v2.InterpolationMode), ("policy", v2.AutoAugmentPolicy)):
        if option in options:
            options[option] = _member(chosen, option, {str(each.value): each for each in values})
    try:
        with warnings.catch_warnings(
            action="error", category=UserWarning
        ):  # torchvision warns of minimum and maximum exchanged
            transform: Any = kind(**options)
        made = _tried(transform, info)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise chosen.mistake(message=f"torchvision's {chosen.name} cannot be used so: {text}") from None
    if made.shape != info.shape or made.dtype != torch.uint8:
        before, after = _size(info.shape[1:]), _size(made.shape[1:])
        text = f"{chosen.name} turns images of {before} into {after}, but they must keep their size"
        raise chosen.mistake(message=text)
    return transform


def _checked(chosen: Transform, taken: Any, info: DatasetInfo) -> dict[str, Any]:
    """The options, with those that memtrack adds."""
    options = chosen.options
    allowed = [name for name in taken if name not in ("size", "inplace")]
    for name in options:
        if name == "size":
            raise chosen.mistake(
                "size", message=f"images keep their size, {_size(info.shape[1:])}: leave it out"
            )
        if name not in allowed:
            hint = f"{nearest(name, allowed)} (allowed: {', '.join(allowed)})"
            raise chosen.mistake(name, message=f"unknown option of {chosen.name}{hint}")
    for name in allowed:
        if taken[name].default is inspect.Parameter.empty and name not in options:
            raise chosen.mistake(name, message=f"is missing: {chosen.name} requires it")
    if "size" in taken:
        options["size"] = list(info.shape[1:])
    if chosen.name == "RandomErasing":
        value = options.setdefault("value", [round(255 * mean) for mean in info.mean])
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(each, int | float) and 0 <= each <= 255 for each in numbers):
            text = "should be a pixel value from 0 to 255, or one for each channel"
            raise chosen.mistake("value", message=text)
    return options


def _member(chosen: Transform, option: str, members: dict[str, Any]) -> Any:
    value = str(chosen.options[option])
    if value not in members:
        hint = f"{nearest(value, members)} (allowed: {', '.join(members)})"
        raise chosen.mistake(option, message=f"{value!r} is not one of its values{hint}")
    return members[value]


def _tried(transform: Any, info: DatasetInfo) -> Tensor:
    """What a transform makes of an image: the first result of another shape or kind, or the last result."""
    certain = copy.deepcopy(transform)
    if hasattr(certain, "p"):
        certain.p = 1.0
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        image = torch.randint(0, 256, info.shape, dtype=torch.uint8)
        for _ in range(TRIALS):
            made: Tensor = certain(image)
            if made.shape != image.shape or made.dtype != image.dtype:
                break
    return made


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
