"""Images or feature vectors in NumPy's files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Arrays
from memtrack.core.images.pixels import Pixels, as_pixels
from memtrack.data.decoding import channels_first
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import check_root

CHANNELS = (1, 3)
LAYOUTS = (
    "expected images uint8 (N, H, W), (N, H, W, channels) or (N, channels, H, W) with one or three channels, "
    "or vectors (N, features)"
)


def collect(params: Arrays) -> Collected:
    """All samples; the id is the position, after `train/` or `test/` if there is a test split.

    Raises:
        InputError: for arrays that are missing, of other shapes or kinds, or not finite.
    """
    parts = {"train": (params.images, params.labels)}
    if params.test_images is not None and params.test_labels is not None:
        parts["test"] = (params.test_images, params.test_labels)
    images, labels, splits = [], [], []
    for split, (name, labelled) in parts.items():
        array, where = _array(params, name)
        images.append(_samples(array, where))
        labels += _labels(*_array(params, labelled), len(array))
        splits += [split] * len(array)
    shapes = {part.shape[1:] for part in images}
    if len(shapes) > 1:
        text = f"have other shapes than the training samples: {' and '.join(map(str, shapes))}"
        raise params.mistake("test_images", message=text)
    together = np.concatenate(images)
    classes = tuple(sorted(set(labels), key=_in_order))
    if len(classes) < 2:
        raise params.mistake("labels", message=f"there is one class ({', '.join(classes)}): two are needed")
    numbers = [number for split in parts for number in range(splits.count(split))]
    return Collected(
        ids=[f"{split}/{number}" if len(parts) > 1 else str(number)
             for split, number in zip(splits, numbers, strict=True)],
        labels=labels,
        splits=splits if len(parts) > 1 else None,
        classes=classes,
        images=as_pixels(together) if together.ndim == 2 else together,  # type: ignore[arg-type]
    )  # fmt: skip


def _array(params: Arrays, name: str) -> tuple[NDArray[Any], Problem]:
    """An array, and a problem without a text that names it."""
    root = check_root(params)
    path = root / (params.file or name)
    key = (
        "file"
        if params.file
        else next(key for key in type(params).model_fields if getattr(params, key) == name)
    )
    if not path.is_file():
        raise params.mistake(key, message=f"no such file: {path}")
    try:
        found = np.load(path, mmap_mode=None if params.file else "r", allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            if name not in found:
                there = ", ".join(found.files)
                raise params.mistake("images", message=f"{path} has no array {name!r} (there are: {there})")
            found = found[name]
    except InputError:
        raise
    except Exception as error:  # NumPy raises many types for damaged files, and for pickled objects
        text = (
            "holds pickled objects, which are not loaded"
            if "Object arrays" in str(error)
            else "cannot be read"
        )
        raise InputError(
            [Problem(path, message=f"{text}: save plain arrays with numpy.save or numpy.savez")]
        ) from None
    return found, Problem(path, message=name)


def _samples(array: NDArray[Any], where: Problem) -> NDArray[Any]:
    """Images uint8 (N, channels, H, W), or vectors (N, features)."""
    what = f"{where.message}: {array.dtype} {array.shape}"
    if array.ndim == 2 and array.dtype.kind in "fiu":
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise InputError([Problem(where.path, message=f"{where.message}: row {row} is not finite")])
        return array
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape:
        hint = "; multiply images from 0 to 1 by 255 and round them" if array.dtype.kind == "f" else ""
        raise InputError([Problem(where.path, message=f"{what}: {LAYOUTS}{hint}")])
    if array.ndim == 3:
        return channels_first(np.asarray(array))
    last, first = array.shape[3] in CHANNELS, array.shape[1] in CHANNELS
    if last == first:
        raise InputError([Problem(where.path, message=f"{what}: {LAYOUTS}")])
    images: Pixels = channels_first(np.asarray(array)) if last else np.asarray(array)
    return images


def _labels(array: NDArray[Any], where: Problem, count: int) -> list[str]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    what = f"{where.message}: {array.dtype} {array.shape}"
    if array.ndim == 2:
        text = (
            f"{what}: one label for each sample is expected, (N,); several labels a sample are not supported"
        )
        raise InputError([Problem(where.path, message=text)])
    if array.ndim != 1 or len(array) != count:
        raise InputError(
            [Problem(where.path, message=f"{what}: expected a label for each of {count} samples")]
        )
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        text = f"{what}: labels are classes, and these are fractions: regression is not supported"
        raise InputError([Problem(where.path, message=text)])
    if array.dtype.kind not in "fiubUS":
        raise InputError([Problem(where.path, message=f"{what}: expected numbers or text")])
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return [str(label) for label in (array.astype(np.int64) if array.dtype.kind in "fb" else array).tolist()]


def _in_order(label: str) -> tuple[bool, int, str]:
    """Sorts numbers by their size, and text behind them."""
    number = int(label) if label.isdecimal() else 0
    return not label.isdecimal(), number, label
