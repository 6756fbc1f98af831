"""What a `GroupTrainer` is made of: the recipe, from the parameters, and the images, decoded."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params
from memtrack.core.memorization.stacked import Recipe
from memtrack.core.training import models
from memtrack.data.prepared import CHUNK, PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.networks import network
from memtrack.terminal.progress import Progress


def recipe(params: Params, data: PreparedData) -> Recipe:
    """How the networks are trained; `InputError` for a network that cannot take the images."""
    chosen, info = params.recipe, data.info
    network(chosen.model, info)  # whether it can be made
    return Recipe(
        partial(models.build, shape=info.shape, classes=len(info.classes), **chosen.model.model_dump()),
        info.mean,
        info.std,
        chosen.optimizer.model_dump(),
        chosen.schedule.model_dump(),
        chosen.epochs,
        chosen.batch_size,
        params.memorization.seed,
        params.memorization.precision,
    )


@contextmanager
def decoded(folder: Path, data: PreparedData, variant: VariantData) -> Iterator[Path]:
    """A folder with the `Arrays` of a variant, on the disk, so that workers share them; removed afterwards.

    Raises:
        InputError: where the disk has no room for them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    held = data.split("test")
    size = (len(variant.ids) + len(held)) * math.prod(data.info.shape)
    free = shutil.disk_usage(folder).free
    if size > free:
        text = f"the decoded images of {variant.name} take {size:,} bytes, and the disk has {free:,}"
        raise InputError([Problem(folder, message=f"{text}: make room, or choose smaller images")])
    where, change = held["image"].tolist(), variant.test_pixels

    def test(rows: range) -> NDArray[np.uint8]:
        images = data.images(where[rows.start : rows.stop])
        return images if change is None else change(images, rows)

    try:
        _write_images(folder / "images.npy", len(variant.ids), data, variant.read)
        _write_images(folder / "test_images.npy", len(where), data, test)
        np.save(folder / "labels.npy", variant.given)
        np.save(folder / "test_labels.npy", data.codes(held["label"]))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_images(
    path: Path, count: int, data: PreparedData, read: Callable[[range], NDArray[np.uint8]]
) -> None:
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, *data.info.shape))
    for start in Progress(range(0, count, CHUNK), "read the images", inner=True):
        rows = range(start, min(start + CHUNK, count))
        images[start : rows.stop] = read(rows)
    images.flush()
