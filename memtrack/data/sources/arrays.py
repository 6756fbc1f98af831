"""Images or feature vectors in NumPy's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.data import Arrays
from memtrack.core.images.pixels import LARGEST, Pixels, as_pixels
from memtrack.data.class_names import names_of_labels
from memtrack.data.decoding import channels_first
from memtrack.data.sources.collected import Collected
from memtrack.data.sources.scan import check_root

CHANNELS = (1, 3)
LAYOUTS = (
    "expected images (N, H, W), (N, H, W, channels) or (N, channels, H, W) with one or three channels, "
    "or vectors (N, features)"
)
NEAR = 0.1
"""Half precision keeps n / 255 this exactly, in units of 1 / 255."""
ROWS = 4096
"""So many images are converted at a time."""


def collect(params: Arrays) -> Collected:
    """All samples; the id is the position, after `train/` or `test/` if there is a test split.

    Raises:
        InputError: for arrays that are missing, of other shapes or kinds, or not finite.
    """
    parts = {"train": (params.images, params.labels)}
    if params.test_images is not None and params.test_labels is not None:
        parts["test"] = (params.test_images, params.test_labels)
    read = _reader(params)
    images, labels, splits = [], [], []
    for split, (name, labelled) in parts.items():
        array, where = read(name)
        images.append(_samples(array, where))
        labels += _labels(*read(labelled), len(array))
        splits += [split] * len(array)
    shapes = {part.shape[1:] for part in images}
    if len(shapes) > 1:
        text = f"have other shapes than the training samples: {' and '.join(map(str, shapes))}"
        raise params.mistake("test_images", message=text)
    together = np.concatenate(images)
    classes = tuple(sorted(set(labels), key=in_order))
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


def _reader(params: Arrays) -> Callable[[str], tuple[NDArray[Any], Problem]]:
    """Gives an array by its name, and a problem without a text that names it. A .npz file is read once."""
    root = check_root(params)

    def there(name: str, key: str) -> Path:
        if not (root / name).is_file():
            raise params.mistake(key, message=f"no such file: {root / name}")
        return root / name

    def from_npy(name: str) -> tuple[NDArray[Any], Problem]:
        key = next(key for key in type(params).model_fields if getattr(params, key) == name)
        found = _read(path := there(name, key))
        if not isinstance(found, np.ndarray):
            raise params.mistake(key, message=f"{path} holds several arrays: name it in data.file")
        return found, Problem(path, message=name)

    if params.file is None:
        return from_npy
    path = there(params.file, "file")
    arrays = read_npz(path)

    def from_npz(name: str) -> tuple[NDArray[Any], Problem]:
        if name not in arrays:
            text = f"{path} has no array {name!r} (there are: {', '.join(arrays)})"
            raise params.mistake("images", message=text)
        return arrays[name], Problem(path, message=name)

    return from_npz


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file, by their names.

    Raises:
        InputError: if it is another kind of file, is damaged or holds Python objects.
    """
    found = _read(path)
    if isinstance(found, np.ndarray):
        raise InputError([Problem(path, message="holds one array: name it .npy, or use numpy.savez")])
    return found


def _read(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        return found if isinstance(found, np.ndarray) else {name: found[name] for name in found}
    except Exception as error:  # NumPy raises many types for damaged files, and for pickled objects
        text = "holds pickled objects" if "Object arrays" in str(error) else "cannot be read"
        text += ": save plain arrays with numpy.save or numpy.savez"
        raise InputError([Problem(path, message=text)]) from None


def _samples(array: NDArray[Any], where: Problem) -> NDArray[Any]:
    """Images uint8 (N, channels, H, W), or vectors (N, features)."""
    what = f"{where.message}: {array.dtype} {array.shape}"
    if array.ndim == 2 and array.dtype.kind in "fiu" and array.shape[1] > 0:
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            text = f"{where.message}: row {row} is not finite: fill it, or leave it out"
            raise InputError([Problem(where.path, message=text)])
        if float(np.abs(array).max(initial=0)) > LARGEST:
            text = f"{where.message}: has values beyond {LARGEST:g}, which no scale fits: leave such rows out"
            raise InputError([Problem(where.path, message=text)])
        return array
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError([Problem(where.path, message=f"{what}: {LAYOUTS}")])
    last, first = array.shape[-1] in CHANNELS, array.shape[1] in CHANNELS
    if array.ndim == 4 and last == first:
        raise InputError([Problem(where.path, message=f"{what}: {LAYOUTS}")])
    images = _pixels(array)
    if images is None:
        text = "images should have 8 bits: whole numbers from 0 to 255, or such numbers divided by 255"
        raise InputError([Problem(where.path, message=f"{what}: {text} (round others)")])
    return channels_first(images) if array.ndim == 3 or last else images


def _pixels(array: NDArray[Any]) -> Pixels | None:
    """Images of 8 bits as uint8: whole numbers from 0 to 255, or, in floats, such numbers divided by 255.
    None if some values are neither."""
    if array.dtype == np.uint8:
        return np.asarray(array)
    found = np.empty(array.shape, np.uint8)
    for largest in {"f": (1, 255), "i": (255,), "u": (255,), "b": (1,)}.get(array.dtype.kind, ()):
        for start in range(0, len(array), ROWS):
            values = array[start : start + ROWS] * (255 / largest)
            whole = np.rint(values)
            if not ((np.abs(values - whole) < NEAR) & (whole >= 0) & (whole <= 255)).all():  # NaN neither
                break
            found[start : start + ROWS] = whole
        else:
            return found
    return None


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
        text = f"{what}: expected a label for each of {count} samples, ({count},)"
        raise InputError([Problem(where.path, message=text)])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        text = f"{what}: row {row} has no label: give it one, or leave the row out"
        raise InputError([Problem(where.path, message=text)])
    if array.dtype.kind == "f" and np.abs(array).max(initial=0) > 2**53:
        raise InputError(
            [Problem(where.path, message=f"{what}: labels beyond 2^53 are not exact: use integers")]
        )
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        text = f"{what}: labels are classes, and these are fractions: regression is not supported"
        raise InputError([Problem(where.path, message=text)])
    if array.dtype.kind not in "fiubUS":
        raise InputError([Problem(where.path, message=f"{what}: expected numbers or text")])
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError:
            text = f"{what}: the labels are bytes that are no UTF-8: save them as text"
            raise InputError([Problem(where.path, message=text)]) from None
    return names_of_labels(array.tolist())


def in_order(label: str) -> tuple[bool, int, str]:
    """Sorts numbers by their size, and text behind them."""
    number = int(label) if label.isdecimal() else 0
    return not label.isdecimal(), number, label
