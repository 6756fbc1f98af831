"""Variants of a data set: its training samples under other given labels, in data/variants/NAME.

labels.csv has a row per sample in id order: id, image (as in data/prepared/samples.csv), clean_label,
given_label, corrupted (1 where the two differ, else 0) and copy_of (the id of the sample that a conflicting
duplicate is a copy of, else empty); summary.json says how it was made. Images are never copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core import noise
from memtrack.core.pixels import How, Pixels, RandomizedPixels
from memtrack.io.dataset import CHUNK, PreparedData, class_numbers
from memtrack.io.params import (
    ConflictingDuplicates,
    Confusion,
    Fraction,
    FromFile,
    InstanceDependent,
    NoNoise,
    Pair,
    PixelNoise,
    RandomLabels,
    Section,
    Symmetric,
    VariantParams,
    base_variant,
    mistake,
)
from memtrack.io.paths import VARIANTS_FOLDER, input_path
from memtrack.io.problems import InputError, Problem
from memtrack.io.tables import read_table, required_columns, row_name
from memtrack.io.validation import nearest, read_record, write_record

LABELS, SUMMARY = "labels.csv", "summary.json"
COPY = "#copy"
"""Added to the id of a sample that is copied."""


class PixelRecord(Section):
    """What is done to the pixels when they are read; see `RandomizedPixels`."""

    how: How
    seed: int


class VariantSummary(Section):
    """summary.json. transitions counts samples of each clean class (row) by given label (column)."""

    made_from: dict[str, Any]
    realized_rate: Fraction
    samples: int
    corrupted: int
    copies: int
    pixels: PixelRecord | None
    classes: list[str]
    transitions: list[list[int]]


class VariantData:
    """A variant, read back.

    Attributes:
        ids: of the samples, (N,). row: of each id. images: where their images are, (N,); see
            `PreparedData.images`.
        clean, given: class numbers int64 (N,).
        copy_of: for a conflicting duplicate the id of the sample it is a copy of, else ''; (N,).
        originals: the row of that sample, else its own; (N,).
        pixels: what is done to the images, or None. test_pixels: what is done to those of the test split.
    """

    def __init__(self, name: str, data: PreparedData) -> None:
        folder = VARIANTS_FOLDER / name
        self.name = name
        self.table = folder / LABELS
        self.summary = read_record(VariantSummary, folder / SUMMARY)
        table = pd.read_csv(self.table, dtype=str, keep_default_na=False)
        self.ids: list[str] = table["id"].tolist()
        self.images: list[str] = table["image"].tolist()
        try:
            if len(table) != self.summary.samples:
                raise KeyError(f"{len(table)} rows")
            self.clean = class_numbers(table["clean_label"], self.summary.classes)
            self.given = class_numbers(table["given_label"], self.summary.classes)
        except KeyError:
            text = f"is damaged: run `dvc repro corrupt@{name}`"
            raise InputError([Problem(self.table, message=text)]) from None
        self.row = {sample: number for number, sample in enumerate(self.ids)}
        self.copy_of: list[str] = table["copy_of"].tolist()
        self.originals: NDArray[np.int64] = np.array(
            [self.row[of or sample] for sample, of in zip(self.ids, self.copy_of, strict=True)],
            dtype=np.int64,
        )
        self._data = data
        made, record = self.summary.pixels, data.record
        self.pixels = None if made is None else RandomizedPixels(made.how, made.seed, record.mean, record.std)
        self.test_pixels = self.pixels if made is not None and made.how == "shuffled" else None

    def seen(self, images: Pixels, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """What a network sees of the images (B, channels, H, W) of some rows; a copy is like its original."""
        return images if self.pixels is None else self.pixels(images, self.originals[np.asarray(rows)])

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """What a network sees of some rows, uint8 (len(rows), channels, H, W)."""
        return self.seen(self._data.images([self.images[row] for row in rows]), rows)

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which samples carry another label than their clean one, (N,)."""
        return self.clean != self.given

    @property
    def flags_known(self) -> bool:
        """Whether some samples are known to be corrupted, and not all: what an AUROC needs."""
        return 0 < int(self.corrupted.sum()) < len(self.ids)


def write_variant(name: str, params: VariantParams, data: PreparedData) -> VariantSummary:
    """Make the variant `name`; `InputError` where its entry or a label file does not fit the data set."""
    classes = data.record.classes
    base = base_variant(params)
    if base is not None:
        start = VariantData(base, data)
        clean, given, pixels, read = start.clean, start.given, start.summary.pixels, start.read
        rows = pd.DataFrame({"id": start.ids, "image": start.images, "copy_of": start.copy_of})
    else:
        train, pixels = data.split("train").reset_index(drop=True), None
        clean = given = data.codes(train["label"])
        rows = train[["id", "image"]].assign(copy_of="")

        def read(rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
            return data.images(train["image"].iloc[np.asarray(rows)].tolist())

    match params:
        case NoNoise():
            pass
        case Symmetric():
            given = noise.symmetric(given, classes=len(classes), rate=params.rate, seed=params.seed)
        case Pair():
            partners = _partners(name, params, classes)
            given = noise.pair(given, partners=partners, rate=params.rate, seed=params.seed)
        case Confusion():
            if len(params.matrix) != len(classes):
                text = f"has {len(params.matrix)} rows: the data set has {len(classes)} classes"
                raise mistake("variants", name, "matrix", message=text)
            given = noise.confusion(given, matrix=np.array(params.matrix), seed=params.seed)
        case InstanceDependent():

            def images() -> Iterator[Pixels]:
                for first in range(0, len(rows), CHUNK):
                    yield read(range(first, min(first + CHUNK, len(rows))))

            distances = noise.class_distances(images, given, classes=len(classes))
            given = noise.instance_dependent(given, distances, rate=params.rate, seed=params.seed)
        case RandomLabels():
            given = noise.random_labels(given, classes=len(classes), seed=params.seed)
        case ConflictingDuplicates():
            # of samples that have no copy yet
            alone = np.flatnonzero((rows["copy_of"] == "") & ~rows["id"].isin(rows["copy_of"]))
            chosen, labels = noise.conflicting_duplicates(
                given[alone], classes=len(classes), rate=params.rate, seed=params.seed
            )
            copies = rows.iloc[alone[chosen]]
            copies = copies.assign(copy_of=copies["id"], id=copies["id"] + COPY)
            rows = pd.concat([rows, copies])
            clean = np.concatenate([clean, clean[alone[chosen]]])
            given = np.concatenate([given, labels])
        case PixelNoise():
            pixels = PixelRecord(how=params.how, seed=params.seed)
        case FromFile():
            given = _labels_from_file(params, data)
    corrupted = clean != given
    summary = VariantSummary(
        made_from=params.model_dump(mode="json"),
        realized_rate=float(corrupted.mean()),
        samples=len(clean),
        corrupted=int(corrupted.sum()),
        copies=int((rows["copy_of"] != "").sum()),
        pixels=pixels,
        classes=list(classes),
        transitions=noise.transition_counts(clean, given, classes=len(classes)).tolist(),
    )
    names = np.asarray(classes, dtype=object)
    folder = VARIANTS_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "id": rows["id"],
            "image": rows["image"],
            "clean_label": names[clean],
            "given_label": names[given],
            "corrupted": corrupted.astype(int),
            "copy_of": rows["copy_of"],
        }
    ).to_csv(folder / LABELS, index=False)
    write_record(summary, folder / SUMMARY)
    return summary


def _partners(name: str, params: Pair, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """For each class the number of its partner, (C,); its own for none."""
    own = np.arange(len(classes))
    if params.pairs is None:
        return (own + 1) % len(classes)
    problems = [
        mistake("variants", name, "pairs", key,
                message=f"{word!r} is not among the classes{nearest(word, classes)} ({', '.join(classes)})")
        for key, value in params.pairs.items() for word in (key, value) if word not in classes
    ]  # fmt: skip
    if problems:
        raise InputError([problem for found in problems for problem in found.problems])
    for one, other in params.pairs.items():
        own[classes.index(one)] = classes.index(other)
    return own


def _labels_from_file(params: FromFile, data: PreparedData) -> NDArray[np.int64]:
    """The given labels of the training samples, (N,), from a table of ids and labels."""
    path = input_path(params.labels)
    table = read_table(path)
    required_columns(table, [params.id_column, params.label_column], path)
    classes, known = list(data.record.classes), set(data.samples["id"])
    numbers = {str(number): number for number in range(len(classes))}
    given: dict[str, int] = {}
    problems: list[Problem] = []
    numbered = not any(name.isdecimal() for name in classes)  # else a number is a class's name
    rows = zip(table.index, table[params.id_column], table[params.label_column], strict=True)
    for row, sample, label in rows:
        where = row_name(path, row)
        if sample in given:
            problems.append(Problem(path, message=f"{where}: the id {sample!r} is there twice"))
        elif sample not in known:
            example = data.samples["id"].iloc[0]
            problems.append(
                Problem(
                    path,
                    message=f"{where}: no sample has the id {sample!r} (ids look like {example!r})",
                )
            )
        elif label in classes:
            given[sample] = classes.index(label)
        elif numbered and label in numbers:
            given[sample] = numbers[label]
        else:
            hint = nearest(label, classes)
            problems.append(
                Problem(
                    path,
                    message=f"{where}: {label!r} is not among the classes{hint} ({', '.join(classes)})",
                )
            )
    train = data.split("train")["id"].tolist()
    if not problems:  # a mistaken id would be said twice
        problems += [
            Problem(path, message=f"has no label for the training sample {sample!r}")
            for sample in train
            if sample not in given
        ]
    if problems:
        raise InputError(problems)
    return np.array([given[sample] for sample in train], dtype=np.int64)
