"""Memorization that others have estimated, from a file as Feldman & Zhang publish it."""

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

EXPECTED = "an .npz file as Feldman & Zhang publish it, with tr_mem and tr_labels"


def published_memorization(
    options: MemorizationParams, data: PreparedData, variant: VariantData
) -> NDArray[np.float64]:
    """The memorization of each training sample of the variant, (N,), from its file in memorization.published;
    NaN where the file says nothing, and where the given label is not the data set's own.

    tr_mem holds it for each sample of the data set. Where there are tr_filenames (ImageNet), samples are
    found by the name of their file, else by their order in the data set, of which all training samples must
    be there; in both cases tr_labels must agree with the clean labels. Nothing is unpickled.

    Raises:
        InputError: where it is another file, or of another data set.

    Source: Feldman & Zhang, NeurIPS 2020, the files that go with the paper.
    """
    if variant.pixels is not None:
        text = f"is of the images as they are: the pixels of {variant.name} are randomized"
        raise options.mistake("published", variant.name, message=text)
    if variant.name not in options.published:
        raise options.mistake("published", message=f"names no file for the variant {variant.name}")
    path = input_path(options.published[variant.name])
    try:
        return _memorization(path, data, variant)
    except InputError as error:
        where = options.mistake("published", variant.name, message="names it")
        raise InputError([*error.problems, *where.problems]) from None


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
    rows[variant.corrupted] = -1  # it is of the data set's own labels
    found = rows >= 0
    theirs, ours = labels[rows[found]], variant.clean[found]
    if names is not None:  # of a part of the classes, numbered anew
        theirs = _most_often(theirs, ours)
    differing = np.flatnonzero(theirs != ours)
    if len(differing):
        first = int(np.flatnonzero(found)[differing[0]])
        raise _problem(
            path,
            f"tr_labels differ from the clean labels of {len(differing)} of {int(found.sum())} samples (the "
            f"first is {variant.ids[first]}): it is of another data set, or in another order",
        )
    values = np.full(len(variant.ids), np.nan)
    values[found] = memorization[rows[found]]
    return values


def _most_often(theirs: NDArray[np.int64], ours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Their class numbers as ours: for each the one of ours that it goes with most often, -1 where that one
    goes with another of theirs more often."""
    _, places = np.unique(theirs, return_inverse=True)
    together = np.zeros((places.max(initial=-1) + 1, ours.max(initial=-1) + 1), dtype=np.int64)
    np.add.at(together, (places, ours), 1)
    match = together.argmax(axis=1)
    mutual = together.argmax(axis=0)[match] == np.arange(len(match))
    found: NDArray[np.int64] = np.where(mutual, match, -1)[places]
    return found


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    if not path.exists():
        raise _problem(path, f"is not there: it should be {EXPECTED}")
    if not zipfile.is_zipfile(path):
        raise _problem(path, f"cannot be read: it should be {EXPECTED}")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in ("tr_mem", "tr_labels", "tr_filenames") if name in file.files]
            arrays = {name: file[name] for name in names}
    except Exception as error:  # zipfile and NumPy have many for a damaged file
        if "pickle" in str(error):
            raise _problem(
                path,
                "holds Python objects, which are not read for safety: save its arrays again as numbers, and "
                "names as words (astype('S') or astype('U'))",
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
            wanted = {"tr_mem": "numbers", "tr_labels": "whole numbers", "tr_filenames": "words"}[name]
            raise _problem(path, f"{name} should hold {wanted}, and has {len(array)} of {array.dtype}")
    return arrays


def _by_order(path: Path, count: int, data: PreparedData, variant: VariantData) -> NDArray[np.int64]:
    """The row of each training sample in the file: the order of the data set's own training samples."""
    everything = data.samples[data.samples["split"] != "test"]
    if data.info.files is not None:
        raise _problem(path, "has no tr_filenames, by which the samples of image files are found")
    if count != len(everything):
        raise _problem(
            path,
            f"has {count} samples: the data set has {len(everything)} training samples before train_limit",
        )
    place = {
        image: row for row, image in enumerate(everything["image"].astype(int).sort_values().astype(str))
    }
    return np.array([place[image] for image in variant.images], dtype=np.int64)


def _by_name(path: Path, names: NDArray[np.generic], variant: VariantData) -> NDArray[np.int64]:
    """The row of the image whose path ends as a name does, whatever its format; -1 for none."""
    words = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in names.tolist()]
    paths = [PurePosixPath(word or "?") for word in words]
    place = {path.with_suffix("").parts: row for row, path in enumerate(paths)}
    ends = [PurePosixPath(image).with_suffix("").parts[-len(paths[0].parts) :] for image in variant.images]
    originals = {end for end, original in zip(ends, variant.copy_of, strict=True) if not original}
    if len(place) < len(paths) or len(originals) < len(ends) - sum(map(bool, variant.copy_of)):
        raise _problem(path, "tr_filenames cannot tell images apart: give as much of their paths as does")
    rows = np.array([place.get(end, -1) for end in ends], dtype=np.int64)
    if (rows < 0).all():
        example = f"{paths[0]} in the file, {variant.images[0]} here"
        raise _problem(path, f"names none of the training images (names look like {example})")
    return rows


def _problem(path: Path, message: str) -> InputError:
    return InputError([Problem(path, message=message)])
