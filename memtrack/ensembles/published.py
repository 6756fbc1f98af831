"""Memorization that others have estimated, read from a file in the format of Feldman & Zhang."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.memorization import MemorizationParams
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData

EXPECTED = "an .npz file in the format of Feldman & Zhang, with tr_mem and tr_labels"


def published_memorization(
    options: MemorizationParams, data: PreparedData, variant: VariantData
) -> NDArray[np.float64]:
    """The memorization of each training sample of the variant, (N,), from its file in memorization.published;
    NaN if the file lacks the sample, or if its given label is not the data set's own.

    tr_mem holds the memorization of each sample of the data set. If the file has tr_filenames (ImageNet),
    samples are found by the names of their files. Otherwise they are found by their order in the data set,
    and the file must hold all training samples. In both cases tr_labels must agree with the clean labels.
    Nothing is unpickled.

    Raises:
        InputError: if the file has another format, or belongs to another data set.

    Source: Feldman & Zhang, NeurIPS 2020, the files published with the paper.
    """
    if variant.pixels is not None:
        text = f"is for the original images, but the pixels of {variant.name} are randomized"
        raise options.mistake("published", variant.name, message=text)
    if variant.name not in options.published:
        raise options.mistake("published", message=f"names no file for the variant {variant.name}")
    path = input_path(options.published[variant.name])
    try:
        return _memorization(path, data, variant)
    except InputError as error:
        reference = options.mistake("published", variant.name, message="names this file")
        raise InputError([*error.problems, *reference.problems]) from None


def _memorization(path: Path, data: PreparedData, variant: VariantData) -> NDArray[np.float64]:
    arrays = _read(path)
    memorization, labels = arrays["tr_mem"].astype(np.float64), arrays["tr_labels"].astype(np.int64)
    if not (np.abs(memorization[~np.isnan(memorization)]) <= 1).all():
        raise _problem(path, "tr_mem should lie between -1 and 1")
    names = arrays.get("tr_filenames")
    if names is None:
        rows = _by_order(path, len(memorization), data, variant)
    else:
        rows = _by_name(path, names, variant)
    rows[variant.corrupted] = -1  # tr_mem is for the data set's own labels
    found = rows >= 0
    theirs, ours = labels[rows[found]], variant.clean[found]
    if names is not None:  # the file may hold some of the classes, with other numbers
        theirs = _most_often(theirs, ours)
    differing = np.flatnonzero(theirs != ours)
    if len(differing):
        first = int(np.flatnonzero(found)[differing[0]])
        raise _problem(
            path,
            f"tr_labels differ from the clean labels of {len(differing)} of {int(found.sum())} samples (the "
            f"first is {variant.ids[first]}): the file belongs to another data set, or has another order",
        )
    values = np.full(len(variant.ids), np.nan)
    values[found] = memorization[rows[found]]
    return values


def _most_often(theirs: NDArray[np.int64], ours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Translate their class numbers to ours. Each becomes the one of ours that it occurs with most often, or
    -1 if that one occurs more often with another of theirs."""
    _, indices = np.unique(theirs, return_inverse=True)
    together = np.zeros((indices.max(initial=-1) + 1, ours.max(initial=-1) + 1), dtype=np.int64)
    np.add.at(together, (indices, ours), 1)
    match = together.argmax(axis=1)
    mutual = together.argmax(axis=0)[match] == np.arange(len(match))
    found: NDArray[np.int64] = np.where(mutual, match, -1)[indices]
    return found


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    if not path.exists():
        raise _problem(path, f"does not exist: it should be {EXPECTED}")
    if not zipfile.is_zipfile(path):
        raise _problem(path, f"cannot be read: it should be {EXPECTED}")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in ("tr_mem", "tr_labels", "tr_filenames") if name in file.files]
            arrays = {name: file[name] for name in names}
    except Exception as error:  # zipfile and NumPy raise many kinds for a damaged file
        if "pickle" in str(error):
            raise _problem(
                path,
                "holds Python objects, which are not read for safety: save its arrays again as numbers, and "
                "names as strings (astype('S') or astype('U'))",
            ) from None
        raise _problem(path, f"cannot be read ({error}): it should be {EXPECTED}") from None
    missing = {"tr_mem", "tr_labels"} - arrays.keys()
    if missing:
        raise _problem(path, f"has no {' and no '.join(sorted(missing))}: it should be {EXPECTED}")
    if len({array.shape for array in arrays.values()}) > 1 or arrays["tr_mem"].ndim != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise _problem(path, f"has arrays of different sizes ({shapes})")
    kinds = {"tr_mem": "fiu", "tr_labels": "iu", "tr_filenames": "SU"}
    for name, array in arrays.items():
        if array.dtype.kind not in kinds[name] or not len(array):
            wanted = {"tr_mem": "numbers", "tr_labels": "whole numbers", "tr_filenames": "strings"}[name]
            raise _problem(path, f"{name} should hold {wanted}, but has {len(array)} of {array.dtype}")
    return arrays


def _by_order(path: Path, count: int, data: PreparedData, variant: VariantData) -> NDArray[np.int64]:
    """The row of each training sample in a file that has the order of the data set's own training samples."""
    everything = data.samples[data.samples["split"] != "test"]
    if data.info.files is not None:
        raise _problem(path, "has no tr_filenames, which are needed to find the samples of image files")
    if count != len(everything):
        raise _problem(
            path,
            f"has {count} samples: the data set has {len(everything)} training samples before train_limit",
        )
    row_of = {
        image: row for row, image in enumerate(everything["image"].astype(int).sort_values().astype(str))
    }
    return np.array([row_of[image] for image in variant.images], dtype=np.int64)


def _by_name(path: Path, names: NDArray[np.generic], variant: VariantData) -> NDArray[np.int64]:
    """The row whose name each image's path ends with, whatever the file format; -1 if there is none."""
    words = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names.tolist()]
    paths = [PurePosixPath(word or "?") for word in words]
    row_of = {path.with_suffix("").parts: row for row, path in enumerate(paths)}
    ends = [PurePosixPath(image).with_suffix("").parts[-len(paths[0].parts) :] for image in variant.images]
    originals = {end for end, original in zip(ends, variant.copy_of, strict=True) if not original}
    if len(row_of) < len(paths) or len(originals) < len(ends) - sum(map(bool, variant.copy_of)):
        raise _problem(path, "tr_filenames cannot tell images apart: give enough of their paths")
    rows = np.array([row_of.get(end, -1) for end in ends], dtype=np.int64)
    if (rows < 0).all():
        example = f"{paths[0]} in the file, {variant.images[0]} in the data set"
        raise _problem(path, f"names none of the training images (for example, {example})")
    return rows


def _problem(path: Path, message: str) -> InputError:
    return InputError([Problem(path, message=message)])
