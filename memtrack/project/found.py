"""What the images of a project are, found by looking at them: the section `data` of params.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from memtrack.config.errors import InputError, Problem
from memtrack.data.decoding import extensions
from memtrack.data.sources.image_folder import split_of
from memtrack.data.tables import CSV, read_table, spellings

LOOKED_AT = 200
"""So many images, or rows of a table, are looked at."""
SMALL = 48
"""Images up to this width and height are used as they are."""
LARGE = 64
"""The width and height to which larger images are resized."""
TABLES = (*CSV, ".parquet")
ARRAYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("images", "labels", "test_images", "test_labels"),
    ("x", "y", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
)
"""Names that people give to arrays of images and labels, and to those of the test split."""
TEXT = 0.5
"""A column of texts has three words or more in at least this share of its cells."""
LABELS = ("label", "class", "target", "category", "y", "classname", "class_name", "given_label")
"""Names that people give to columns of labels."""


@dataclass(frozen=True)
class Data:
    """The section `data`, and what it describes, in words.

    Attributes:
        size: the width and height of the images. grey: whether all images are grey.
    """

    section: dict[str, Any]
    words: str
    size: int = 8
    grey: bool = True


DIGITS = Data(
    {"kind": "digits", "root": "data/raw", "test_share": 0.2},
    "scikit-learn's handwritten digits, as an example",
)


def look_at(place: Path, root: str) -> Data:
    """What is at `place`: a folder with a folder for each class, or a table of images.

    Args:
        root: how params.yaml names the folder of the images.

    Raises:
        InputError: if it is neither.
    """
    if place.is_file() and place.suffix.lower() in TABLES:
        return _table(place, root)
    if place.is_file() and place.suffix.lower() == ".npz":
        return _arrays(place, root)
    if not place.is_dir():
        text = "is no folder and no table" if place.exists() else "is not there"
        text += ": give the folder of the images, a table (.csv, .tsv, .parquet), or an .npz file"
        raise InputError([Problem(place, message=text)])
    tables = [path for path in place.iterdir() if path.suffix.lower() in TABLES]
    in_table: InputError | None = None
    if len(tables) == 1:
        try:
            return _table(tables[0], root)
        except InputError as error:  # it may be about something else
            in_table = error
    folders = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    splits: dict[str, Path] = {}
    for folder in folders:
        splits.setdefault(split_of(folder.name) or "", folder)
    if "train" in splits and (held := splits.get("test", splits.get("val"))):
        train = splits["train"]
        keys: dict[str, Any] = {"train": train.name, "test": held.name}
        classes = [path for path in train.iterdir() if path.is_dir()]
    else:
        keys, classes = {"test_share": 0.2}, folders
    images = [path for folder in classes for path in _images(folder, LOOKED_AT // max(1, len(classes)) + 1)]
    if not images:
        if in_table is not None:
            raise in_table
        text = "holds no folders with images: expected a folder for each class, or the table of the images"
        raise InputError([Problem(place, message=text)])
    size, grey = _looks(images)
    section = {
        "kind": "image_folder",
        "root": root,
        "image_size": size,
        "mode": "L" if grey else "RGB",
        **keys,
    }
    return Data(section, f"images of {len(classes)} classes, one folder each", size, grey)


def _table(path: Path, root: str) -> Data:
    table = read_table(path).head(LOOKED_AT)
    here = path.parent
    paths = [name for name in table if _share_of_images(table[name], here) > 0.5]
    named = [name for name in table if str(name).lower() in LABELS]
    if not paths and len(named) == 1:
        return _vectors(path, root, table, str(named[0]))
    if len(paths) != 1 or len(named) != 1:
        what = "paths of images below its folder" if len(paths) != 1 else f"labels ({', '.join(LABELS)})"
        text = f"exactly one column should hold {what}: rename one, or write params.yaml by hand"
        raise InputError([Problem(path, message=text)])
    splits = [name for name in table if set(table[name]) == {"train", "test"}]
    images = [here / text for text in table[paths[0]] if (here / text).is_file()]
    size, grey = _looks(images)
    section = {
        "kind": "table", "root": root, "table": path.name, "path_column": paths[0], "label_column": named[0],
        "image_size": size, "mode": "L" if grey else "RGB",
        **({"split_column": splits[0]} if len(splits) == 1 else {"test_share": 0.2}),
    }  # fmt: skip
    return Data(section, f"the images of {path.name}, labels in the column {named[0]}", size, grey)


def _vectors(path: Path, root: str, table: pd.DataFrame, label: str) -> Data:
    """A table without images: of numbers, or of texts."""
    others = [str(name) for name in table if name != label]
    named = {"root": root, "table": path.name, "label_column": label}
    for name in others:
        if set(table[name]) == {"train", "test"}:
            named["split_column"] = name
        elif name.lower() == "id" and table[name].is_unique:
            named["id_column"] = name
    others = [name for name in others if name not in named.values()]
    numeric = [name for name in others if pd.to_numeric(table[name], errors="coerce").notna().all()]
    section: dict[str, Any] = {**named, **({} if "split_column" in named else {"test_share": 0.2})}
    if numeric:
        section |= {} if numeric == others else {"columns": numeric}
        return Data({"kind": "features", **section}, f"{len(numeric)} numeric columns of {path.name}", 1)
    texts = [name for name in others if (table[name].str.count(" ") > 1).mean() > TEXT]
    if len(texts) != 1:
        text = "expected a column of paths of images below its folder, columns of numbers, or one of texts"
        raise InputError([Problem(path, message=f"{text}, beside the labels ({label})")])
    section |= {"text_column": texts[0], "dimensions": min(64, len(table) // 2)}
    return Data({"kind": "text", **section}, f"the texts of {path.name}", 1)


def _arrays(path: Path, root: str) -> Data:
    """A .npz file with the arrays that people give these names."""
    try:
        with np.load(path, allow_pickle=False) as there:
            shapes = {name: there[name].shape for name in there}
    except Exception as error:  # NumPy raises many types for damaged files
        raise InputError([Problem(path, message=f"cannot be read: {error}")]) from None
    for images, labels, test_images, test_labels in ARRAYS:
        if {images, labels} <= shapes.keys():
            section: dict[str, Any] = {"kind": "arrays", "root": root, "file": path.name}
            section |= {"images": images, "labels": labels}
            if {test_images, test_labels} <= shapes.keys():
                section |= {"test_images": test_images, "test_labels": test_labels}
            else:
                section["test_share"] = 0.2
            sides = shapes[images][1:]
            size = 1 if len(sides) == 1 else sorted(sides)[-2]
            return Data(section, f"the arrays {images} and {labels} of {path.name}", size, 3 not in sides)
    text = f"holds the arrays {', '.join(shapes)}: expected images and labels, or x_train and y_train"
    raise InputError([Problem(path, message=f"{text} (name yours in params.yaml)")])


def _share_of_images(cells: pd.Series, folder: Path) -> float:
    found = [any((folder / spelling).is_file() for spelling in spellings(cell) if cell) for cell in cells]
    return sum(found) / max(1, len(found))


def _images(folder: Path, most: int) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in extensions() and not path.name.startswith("."):
            found.append(path)
            if len(found) == most:
                break
    return found


def _looks(images: Iterable[Path]) -> tuple[int, bool]:
    """The width and height to use for some images, and whether all of them are grey."""
    sizes, grey = [], True
    for path in list(images)[:LOOKED_AT]:
        try:
            with Image.open(path) as image:
                sizes.append(min(image.size))
                grey = grey and image.mode in ("1", "L", "LA", "I", "I;16")
        except OSError:  # stage prepare says what is wrong with it
            continue
    usual = median_low(sizes) if sizes else LARGE
    return (max(8, usual) if usual <= SMALL else LARGE), grey
