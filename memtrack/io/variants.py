"""Variants of a data set: the same training samples under other given labels, in data/variants/NAME.

labels.csv has a row per training sample in id order: id, clean_label, given_label and corrupted
(1 where the two differ, else 0); summary.json says how it was made. Images are never copied.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core import noise
from memtrack.io.dataset import PreparedData, class_numbers
from memtrack.io.params import Fraction, FromFile, NoNoise, Section, Symmetric, VariantParams, base_variant
from memtrack.io.paths import VARIANTS_FOLDER, input_path
from memtrack.io.problems import InputError, Problem
from memtrack.io.tables import read_table, required_columns, row_name
from memtrack.io.validation import nearest, read_record, write_record

LABELS, SUMMARY = "labels.csv", "summary.json"


class VariantSummary(Section):
    """summary.json. transitions counts samples of each clean class (row) by given label (column)."""

    kind: str
    labels: str
    seed: int | None
    asked_rate: Fraction | None
    realized_rate: Fraction
    samples: int
    corrupted: int
    classes: list[str]
    transitions: list[list[int]]


class VariantData:
    """A variant, read back."""

    def __init__(self, name: str) -> None:
        folder = VARIANTS_FOLDER / name
        self.name = name
        self.table = folder / LABELS
        self.summary = read_record(VariantSummary, folder / SUMMARY)
        table = pd.read_csv(self.table, dtype=str, keep_default_na=False)
        self.ids: list[str] = table["id"].tolist()
        self.clean = class_numbers(table["clean_label"], self.summary.classes)
        self.given = class_numbers(table["given_label"], self.summary.classes)

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which samples carry another label than their clean one, (N,)."""
        return self.clean != self.given

    @property
    def flags_known(self) -> bool:
        """Whether some samples are known to be corrupted, and not all: what an AUROC needs."""
        return 0 < int(self.corrupted.sum()) < len(self.ids)


def write_variant(name: str, params: VariantParams, data: PreparedData) -> VariantSummary:
    """Make the variant `name`; `InputError` where a label file does not fit the data set."""
    classes, train = data.record.classes, data.split("train")
    clean = data.codes(train["label"])
    base = base_variant(params)
    start = VariantData(base).given if base is not None else clean
    match params:
        case NoNoise():
            given = start
        case Symmetric():
            given = noise.symmetric(start, classes=len(classes), rate=params.rate, seed=params.seed)
        case FromFile():
            given = _labels_from_file(params, data)
    corrupted = clean != given
    summary = VariantSummary(
        kind=params.kind,
        labels=params.labels,
        seed=getattr(params, "seed", None),
        asked_rate=getattr(params, "rate", None),
        realized_rate=float(corrupted.mean()),
        samples=len(clean),
        corrupted=int(corrupted.sum()),
        classes=list(classes),
        transitions=noise.transition_counts(clean, given, classes=len(classes)).tolist(),
    )
    names = np.asarray(classes, dtype=object)
    folder = VARIANTS_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "id": train["id"],
            "clean_label": names[clean],
            "given_label": names[given],
            "corrupted": corrupted.astype(int),
        }
    ).to_csv(folder / LABELS, index=False)
    write_record(summary, folder / SUMMARY)
    return summary


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
