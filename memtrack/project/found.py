"""What the samples of a project are, found by looking at them: the section `data` of params.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

import pandas as pd
import pyarrow as pa

from memtrack.config.errors import InputError, Problem
from memtrack.data.cells import Cell, Encoded
from memtrack.data.decoding import RefusedImage, extensions, header
from memtrack.data.sources.arrays import read_npz
from memtrack.data.sources.hugging_face import is_saved, saved_tables
from memtrack.data.sources.image_folder import split_of
from memtrack.data.sources.shards import class_names, image_column_problem, open_shard
from memtrack.data.sources.split_names import split_of_table
from memtrack.data.sources.text import possible_dimensions
from memtrack.data.tables import CSV, PARQUET, read_table, required_columns, row_name, spellings

LOOKED_AT = 200
"""So many images, or paths in a table, are looked at."""
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
ID = re.compile(r"(?i)^id$|(^|[ _])id$|[a-z]Id$|^unnamed: \d+$|^$|^index$")
"""Names of columns that number the samples, if no cell is there twice."""
SHOWN = 5
TEXT = 0.5
"""A column of texts has three words or more in at least this share of its cells."""
IMAGES = ("image", "img", "picture", "photo", "jpg", "png")
"""Names that people give to columns of encoded images."""
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
"""Names that people give to the column that says which rows are for training."""
LABELS = ("label", "class", "target", "category", "y", "classname", "class_name", "given_label")
"""Names that people give to columns of labels."""


@dataclass(frozen=True)
class Data:
    """The section `data`, and what it describes, in words.

    Attributes:
        size: the width and height of the images. grey: whether all of them are grey. count: how many
            samples were looked at.
    """

    section: dict[str, Any]
    words: str
    size: int = 8
    grey: bool = True
    count: int = 1797


DIGITS = Data(
    {"kind": "digits", "root": "data/raw", "test_share": 0.2},
    "scikit-learn's handwritten digits, as an example",
)


def look_at(place: Path, root: str) -> Data:
    """What is at `place`: a folder with a folder of images for each class, tables, or an .npz file, which may
    be the only one in a folder without images.

    Args:
        root: how params.yaml names the folder of the images.

    Raises:
        InputError: if it is neither.
    """
    if place.is_file() and place.suffix.lower() == PARQUET and _image_columns(place):
        return _encoded(
            place.parent, {place.name: None}, {"kind": "parquet", "root": root, "file": place.name}
        )
    if place.is_file() and place.suffix.lower() in TABLES:
        return _table(place, root)
    if place.is_file() and place.suffix.lower() == ".npz":
        return _arrays(place, root)
    if not place.is_dir():
        text = "is no folder and no table" if place.exists() else "is not there"
        text += ": give the folder of the images, a table (.csv, .tsv, .parquet), an .npz file, or a folder "
        text += "that `save_to_disk` of Hugging Face's datasets wrote"
        raise InputError([Problem(place, message=text)])
    if is_saved(place):
        return _encoded(place, saved_tables(place), {"kind": "hugging_face", "root": root})
    shards = sorted(path.relative_to(place).as_posix() for path in place.rglob(f"*{PARQUET}"))
    if shards and _image_columns(place / shards[0]):
        splits = {path: split_of_table(path) for path in shards}
        return _encoded(place, splits, {"kind": "parquet", "root": root})
    tables = [path for path in place.iterdir() if path.suffix.lower() in TABLES]
    in_table: InputError | None = None
    if len(tables) == 1:
        try:
            return _table(tables[0], root)
        except InputError as error:  # it may be about something else
            in_table = error
    folders = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    parts: dict[str, Path] = {}
    for folder in folders:
        parts.setdefault(split_of(folder.name) or "", folder)
    if "train" in parts and (held := parts.get("test", parts.get("val"))):
        train = parts["train"]
        keys: dict[str, Any] = {"train": train.name, "test": held.name}
        classes = [path for path in train.iterdir() if path.is_dir()]
        left = [f"{path.name}/" for path in folders if path not in (train, held)]
        where = f" in {train.name}/ (for testing: {held.name}/{'; left out: ' * bool(left)}{', '.join(left)})"
    else:
        keys, classes, where = {"test_share": 0.2}, folders, ""
    images = [path for folder in classes for path in _images(folder, LOOKED_AT // max(1, len(classes)) + 1)]
    if not images:
        arrays = sorted(path for path in place.iterdir() if path.suffix.lower() == ".npz")
        if arrays and not _images(place, 1):
            if len(arrays) == 1:
                return _arrays(arrays[0], root)
            text = f"holds {', '.join(path.name for path in arrays[:SHOWN])}{' ...' * (len(arrays) > SHOWN)}"
            raise InputError(
                [Problem(place, message=f"{text}: give the path of the .npz file that you mean")]
            )
        if in_table is not None:
            raise in_table
        if several := sorted(path for path in place.rglob("*") if path.suffix.lower() in TABLES):
            return _tables(place, several, root)
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
    words = f"images in {len(classes)} folders, one for each class{where}"
    return Data(section, words, size, grey, len(images))


def _tables(place: Path, paths: list[Path], root: str) -> Data:
    """Tables of numbers or texts, which have the same columns."""
    splits = {path: split_of_table(path.relative_to(place).as_posix()) for path in paths}
    train, keys = _split_keys(place, splits.values())
    used = [path for path in paths if splits[path] in (None, train)]
    tables = {path: read_table(path) for path in used}
    for path, table in tables.items():
        required_columns(table, list(map(str, tables[used[0]])), path)
    whole = pd.concat(tables.values(), ignore_index=True)
    if keys.pop("test_share", None):
        keys |= _split(whole, place)
    section = {"root": root, "label_column": _label(whole, used[0]), **keys}
    return _vectors(section, whole, place, f"{len(used)} tables")


def _label(table: pd.DataFrame, path: Path) -> str:
    """The column of the labels."""
    named = [str(name) for name in table if str(name).lower() in LABELS]
    if len(named) != 1:
        raise _unclear(table, path, f"the labels (it has one of the names {', '.join(LABELS)})")
    return named[0]


def _unclear(table: pd.DataFrame, path: Path, what: str) -> InputError:
    text = f"which column holds {what}? There are: {', '.join(map(str, table))}. Rename one"
    return InputError([Problem(path, message=f"{text}, or write params.yaml by hand")])


def _table(path: Path, root: str) -> Data:
    table = read_table(path)
    required_columns(table, [str(name) for name in table], path)
    paths = [name for name in table if _share_of_images(table[name].head(LOOKED_AT), path.parent) > 0.5]
    label = _label(table, path)
    if len(paths) > 1:
        raise _unclear(table, path, "the paths")
    section: dict[str, Any] = {"root": root, "table": path.name, "label_column": label, **_split(table, path)}
    if not paths:
        return _vectors(section, table, path, path.name)
    cells = table[paths[0]].head(LOOKED_AT)
    images = [path.parent / way for text in cells for way in spellings(text) if (path.parent / way).is_file()]
    size, grey = _looks(images)
    section |= {"kind": "table", "path_column": paths[0], "image_size": size, "mode": "L" if grey else "RGB"}
    words = f"the images of {path.name}, labels in the column {label}"
    return Data(section, words, size, grey, len(table))


def _encoded(place: Path, shards: Mapping[str, str | None], section: dict[str, Any]) -> Data:
    """Tables with encoded images; `shards` has the split of each, by its path."""
    first = place / next(iter(shards))
    columns = _image_columns(first)
    images = [name for name in columns if name.lower() in IMAGES] or columns
    schema = open_shard(first).schema
    if not images:
        text = f"holds no column of encoded images (there are: {', '.join(schema.names)}): for texts or "
        raise InputError([Problem(first, message=f"{text}numbers, save them as .csv or .parquet tables")])
    labels = [name for name in schema.names if name.lower() in (*LABELS, "labels", "fine_label")]
    labels = labels or [name for name in schema.names if class_names(schema, name)]
    for what, found in (("images", images), ("labels", labels)):
        if len(found) != 1:
            text = f"which column holds the {what}? There are: {', '.join(schema.names)}"
            raise InputError([Problem(first, message=f"{text}. Write params.yaml by hand")])
    train, keys = _split_keys(place, shards.values())
    used = [place / path for path, split in shards.items() if split in (None, train)]
    count = sum(open_shard(path).rows for path in used)
    rows = range(min(LOOKED_AT, open_shard(used[0]).rows))
    size, grey = _looks(Cell(used[0], row, images[0]) for row in rows)
    section |= {"image_column": images[0], "label_column": labels[0], "image_size": size}
    section |= {"mode": "L" if grey else "RGB", **keys}
    tables = "one table" if len(used) == 1 else f"{len(used)} tables"
    words = f"the images in the column {images[0]} of {tables}, labels in the column {labels[0]}"
    return Data(section, words, size, grey, count)


def _split_keys(place: Path, found: Iterable[str | None]) -> tuple[str, dict[str, Any]]:
    """The split that is for training, and the keys that name the splits; `found` is that of each table."""
    splits = list(dict.fromkeys(split for split in found if split is not None))
    train = "train" if "train" in splits or len(splits) != 1 else splits[0]
    if splits and train not in splits:
        text = f"which split is for training? There are: {', '.join(splits)}. Write params.yaml by hand"
        raise InputError([Problem(place, message=text)])
    test = next((name for name in ("test", "validation") if name in splits and name != train), None)
    keys: dict[str, Any] = {} if train == "train" else {"train": train}
    return train, keys | ({"test_share": 0.2} if test is None else {"test": test})


def _image_columns(path: Path) -> list[str]:
    """The columns of a table with encoded images: structures, or bytes that are an image in the first row."""
    schema = open_shard(path).schema
    return [
        name
        for name in schema.names
        if image_column_problem(kind := schema.field(name).type) is None
        and (pa.types.is_struct(kind) or _is_image(Cell(path, 0, name)))
    ]


def _is_image(where: Cell) -> bool:
    try:
        header(where)
    except (OSError, RefusedImage):
        return False
    return True


def _split(table: pd.DataFrame, path: Path) -> dict[str, Any]:
    """The key of the column that says which rows are for testing, or of the share that is held out."""
    for name in table:
        found = set(table[name])
        if found == {"train", "test"}:
            return {"split_column": str(name)}
        meant = {split_of(cell) for cell in found}
        if len(meant) > 1 and None not in meant:
            text = (
                f"the column {name!r} holds the splits {', '.join(sorted(found))}: write train and test there"
            )
            raise InputError([Problem(path, message=f"{text}, or remove the column")])
        if str(name).lower() in SPLIT_COLUMNS and meant - {None} and meant != {"train"}:
            unclear = [
                row for row, cell in zip(table.index, table[name], strict=True) if split_of(cell) is None
            ]
            text = f"all rows are for {next(iter(meant))}: mark others as train"
            if unclear:
                text = f"{table[name][unclear[0]]!r} is neither train nor test"
                text = f"{row_name(path, unclear[0]) if path.is_file() else 'a row'}: {text}: mend the row"
            raise InputError([Problem(path, message=f"column {name!r}: {text}, or remove the column")])
    return {"test_share": 0.2}


def _vectors(section: dict[str, Any], table: pd.DataFrame, path: Path, name_of: str) -> Data:
    """A table without images: of numbers, or of texts. `name_of`: what it is called."""
    others = [
        str(name) for name in table if name not in (section["label_column"], section.get("split_column"))
    ]
    ids = [name for name in others if ID.search(name) and table[name].is_unique]
    if ids:
        section["id_column"] = ids[0]
    others = [name for name in others if name not in ids]
    numeric = [name for name in others if pd.to_numeric(table[name], errors="coerce").notna().all()]
    left = [name for name in others if name not in numeric]
    if numeric:
        section |= {} if not left and len(ids) < 2 else {"columns": numeric}
        words = f"the columns {', '.join(numeric[:SHOWN])}{' ...' * (len(numeric) > SHOWN)} of {name_of}"
        words += f"; {', '.join(left)}: not all cells are numbers, so left out" if left else ""
        return Data({"kind": "features", **section}, words, 1, count=len(table))
    texts = [name for name in others if (table[name].str.count(" ") > 1).mean() > TEXT]
    if len(texts) != 1:
        text = "expected a column of paths of images below its folder, of numbers (1.5, not 1,5) or of texts"
        raise InputError([Problem(path, message=f"{text}, beside the labels ({section['label_column']})")])
    most = min(64, len(table) // 2, possible_dimensions(table[texts[0]].tolist()))
    section |= {"text_column": texts[0], "dimensions": max(2, most)}
    return Data({"kind": "text", **section}, f"the texts of {name_of}", 1, count=len(table))


def _arrays(path: Path, root: str) -> Data:
    """A .npz file with the arrays that people give these names."""
    shapes = {name: array.shape for name, array in read_npz(path).items()}
    for images, labels, test_images, test_labels in ARRAYS:
        if {images, labels} <= shapes.keys() and len(shapes[images]) > 1:
            section: dict[str, Any] = {"kind": "arrays", "root": root, "file": path.name}
            section |= {"images": images, "labels": labels}
            if {test_images, test_labels} <= shapes.keys():
                section |= {"test_images": test_images, "test_labels": test_labels}
            else:
                section["test_share"] = 0.2
            count, *sides = shapes[images]
            size = 1 if len(sides) == 1 else sorted(sides)[-2]
            words = f"the arrays {images} and {labels} of {path.name}"
            return Data(section, words, size, 3 not in sides, count)
    text = f"holds the arrays {', '.join(shapes)}: expected images and labels, or x_train and y_train"
    raise InputError([Problem(path, message=f"{text} (name yours in params.yaml)")])


def _share_of_images(cells: pd.Series, folder: Path) -> float:
    found = [any((folder / spelling).is_file() for spelling in spellings(cell) if cell) for cell in cells]
    return sum(found) / max(1, len(found))


def _images(folder: Path, most: int) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in extensions() and not path.name.startswith(".") and path.is_file():
            found.append(path)
            if len(found) == most:
                break
    return found


def _looks(images: Iterable[Encoded]) -> tuple[int, bool]:
    """The width and height to use for some images, and whether all of them are grey."""
    sizes, grey = [], True
    for where in list(images)[:LOOKED_AT]:
        try:
            image = header(where)
        except (OSError, RefusedImage):  # stage prepare says what is wrong with it
            continue
        sizes.append(min(image.size))
        grey = grey and image.mode in ("1", "L", "LA", "I", "I;16")
    usual = median_low(sizes) if sizes else LARGE
    return (max(8, usual) if usual <= SMALL else LARGE), grey
