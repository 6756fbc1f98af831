"""The inputs of a `GroupTrainer`: the recipe from the parameters, and the decoded images."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params
from memtrack.config.paths import VARIANTS_FOLDER
from memtrack.core.images.pixels import dtype_of
from memtrack.core.kept_files import write_array
from memtrack.core.memorization.stacked import Recipe
from memtrack.data.image_cache import CHUNK
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.networks import builder, load_starting_weights, network
from memtrack.terminal.progress import Progress


def recipe(params: Params, data: PreparedData) -> Recipe:
    """How the networks are trained; `InputError` if the network cannot take the images."""
    chosen, info = params.recipe, data.info
    weights = load_starting_weights(network(chosen.model, info), chosen.model)  # raises if it cannot be built
    # workers get arrays whole, but tensors as shared memory, which may be scarce
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    return Recipe(
        builder(chosen.model, info, arrays or None),
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
    """Write the `Arrays` of a variant to a folder, so that workers share them; it is removed afterwards.

    Raises:
        OSError: if the disk has too little space for them.
        InputError: if the samples have weights, which these networks do not take.
    """
    if variant.weights is not None:
        text = (
            "has weights of samples, which the networks of memorization do not take: remove "
            f"{variant.name} from memorization.variants"
        )
        raise InputError([Problem(VARIANTS_FOLDER / variant.name, message=text)])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    held = data.split("test")
    size = (len(variant.ids) + len(held)) * math.prod(data.info.shape) * dtype_of(data.info.shape).itemsize
    free = shutil.disk_usage(folder).free
    if size > free:
        needed = (
            f"{folder}, where the decoded images of {variant.name} need {size:,} bytes and {free:,} are free"
        )
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), needed)
    test_images = held["image"].tolist()

    def test(rows: range) -> NDArray[np.uint8]:
        return variant.seen_test(data.images(test_images[rows.start : rows.stop]), rows)

    try:
        _write_images(folder / "images.npy", len(variant.ids), data, variant.read)
        _write_images(folder / "test_images.npy", len(test_images), data, test)
        write_array(folder / "labels.npy", variant.given)
        write_array(folder / "test_labels.npy", data.codes(held["label"]))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_images(
    path: Path, count: int, data: PreparedData, read: Callable[[range], NDArray[np.uint8]]
) -> None:
    images = np.lib.format.open_memmap(path, "w+", dtype_of(data.info.shape), (count, *data.info.shape))
    if hasattr(os, "posix_fallocate"):  # or a disk that is full would end the process with SIGBUS
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    for start in Progress(range(0, count, CHUNK), "read the images", inner=True):
        rows = range(start, min(start + CHUNK, count))
        images[start : rows.stop] = read(rows)
    images.flush()
