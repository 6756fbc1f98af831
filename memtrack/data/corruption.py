"""Write the variants that `memtrack.data.variants` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import PurePath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import write_json
from memtrack.config.paths import CLEAN_RESULTS, VARIANTS_FOLDER, input_path
from memtrack.config.sections.variants import (
    ConflictingDuplicates,
    Confusion,
    FromFile,
    InstanceDependent,
    NoNoise,
    Pair,
    PixelNoise,
    RandomLabels,
    SeededVariant,
    Symmetric,
    VariantParams,
    base_variant,
)
from memtrack.config.validation import nearest
from memtrack.core.images.pixels import Pixels
from memtrack.core.labels import noise
from memtrack.data.class_names import without_point
from memtrack.data.confusion_matrix import confusion_matrix
from memtrack.data.image_cache import CHUNK
from memtrack.data.manifest import write_manifest
from memtrack.data.prepared import PreparedData
from memtrack.data.tables import composed, finder, read_table, required_columns, row_name
from memtrack.data.variants import LABELS, SUMMARY, PixelChange, VariantData, VariantSummary

WEIGHT = "weight"
"""The column of weights that stage clean writes."""
COPY = "#copy"
"""Suffix that a copy adds to the id of its sample."""


def write_variant(name: str, params: VariantParams, data: PreparedData) -> VariantSummary:
    """Write the variant `name`; raises an `InputError` if its entry or label file does not fit the data."""
    classes = data.info.classes
    base = base_variant(params)
    if base is not None:
        start = VariantData(base, data)
        clean, given, pixels, read = start.clean, start.given, start.summary.pixels, start.read
        draws = [int(start.kept.files[LABELS][:8], 16)]  # the same seed draws other samples than the base did
        rows = pd.DataFrame({"id": start.ids, "image": start.images, "copy_of": start.copy_of})
        if start.weights is not None:
            rows["weight"] = start.weights
    else:
        train, pixels, draws = data.split("train").reset_index(drop=True), None, []
        clean = given = data.codes(train["label"])
        rows = train[["id", "image"]].assign(copy_of="")

        def read(rows: Sequence[int] | NDArray[np.int64]) -> Pixels:
            return data.images(train["image"].iloc[np.asarray(rows)].tolist())

    seed = [params.seed, *draws] if isinstance(params, SeededVariant) else []
    match params:
        case NoNoise():
            pass
        case Symmetric():
            given = noise.symmetric(given, classes=len(classes), rate=params.rate, seed=seed)
        case Pair():
            partners = _partners(params, classes)
            given = noise.pair(given, partners=partners, rate=params.rate, seed=seed)
        case Confusion():
            matrix = confusion_matrix(params, classes)
            given = noise.confusion(given, matrix=matrix, seed=seed)
        case InstanceDependent():

            def images() -> Iterator[Pixels]:
                for first in range(0, len(rows), CHUNK):
                    yield read(range(first, min(first + CHUNK, len(rows))))

            distances = noise.class_distances(images, given, classes=len(classes))
            given = noise.instance_dependent(given, distances, rate=params.rate, seed=seed)
        case RandomLabels():
            given = noise.random_labels(given, classes=len(classes), seed=seed)
        case ConflictingDuplicates():
            # only samples that have no copy yet are copied
            uncopied = np.flatnonzero((rows["copy_of"] == "") & ~rows["id"].isin(rows["copy_of"]))
            chosen, labels = noise.conflicting_duplicates(
                given[uncopied], classes=len(classes), rate=params.rate, seed=seed
            )
            copies = rows.iloc[uncopied[chosen]]
            copies = copies.assign(copy_of=copies["id"], id=copies["id"] + COPY)
            if len(taken := copies["id"][copies["id"].isin(data.samples["id"])]):
                text = f"a sample has the id {taken.iloc[0]!r} already, which a copy gets: rename it"
                raise params.mistake(message=text)
            rows = pd.concat([rows, copies])
            clean = np.concatenate([clean, clean[uncopied[chosen]]])
            given = np.concatenate([given, labels])
        case PixelNoise():
            pixels = PixelChange(how=params.how, seed=params.seed)
        case FromFile():
            named, weights = _labels_from_file(params, data)
            if (weights != 1).any():
                rows["weight"] = weights
            stay = np.array([label is not None for label in named])
            given = data.codes([label for label in named if label is not None])
            rows, clean = rows[stay], clean[stay]
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
            **({"weight": rows["weight"]} if "weight" in rows else {}),
        }
    ).to_csv(folder / LABELS, index=False)
    write_json(summary, folder / SUMMARY)
    write_manifest(folder, {"variant": name, "data": data.kept.identity})
    return summary


def _partners(params: Pair, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """The number of the partner of each class, (C,); a class without a partner has its own number."""
    own = np.arange(len(classes))
    if params.pairs is None:
        return (own + 1) % len(classes)
    problems = [
        params.mistake("pairs", key,
                message=f"{word!r} is not among the classes{nearest(word, classes)} ({', '.join(classes)})")
        for key, value in params.pairs.items() for word in (key, value) if word not in classes
    ]  # fmt: skip
    if problems:
        raise InputError([problem for found in problems for problem in found.problems])
    for one, other in params.pairs.items():
        own[classes.index(one)] = classes.index(other)
    return own


def _labels_from_file(params: FromFile, data: PreparedData) -> tuple[list[str | None], NDArray[np.float64]]:
    """The given label of each training sample, from a table of ids and labels; None: it is left out. And its
    weight in the training loss."""
    path = input_path(params.labels)
    table = read_table(path)
    weighted = [] if params.weight_column is None else [params.weight_column]
    required_columns(table, [params.id_column, params.label_column, *weighted], path)
    if not weighted and WEIGHT in table and PurePath(params.labels).is_relative_to(CLEAN_RESULTS):
        raise params.mistake("weight_column", message=f"stage clean has given weights: write {WEIGHT}")
    classes = list(data.info.classes)
    if params.leave_out in classes:
        raise params.mistake(
            "leave_out", message=f"{params.leave_out!r} is the name of a class: choose another mark"
        )
    labels: dict[str, str | None] = {name: name for name in classes}
    if not any(name.isdecimal() for name in classes):  # otherwise a number is the name of a class
        labels |= {str(number): name for number, name in enumerate(classes)}
    if params.leave_out is not None:
        labels[params.leave_out] = None
    labels = {composed(label): name for label, name in labels.items()} | labels
    ids = data.samples["id"].tolist()
    find = finder(ids)
    given: dict[str, str | None] = {}
    weights: dict[str, float] = {}
    problems: list[Problem] = []
    cells = table[params.weight_column] if weighted else repeat("1", len(table))
    rows = zip(table.index, table[params.id_column], table[params.label_column], cells, strict=True)
    for row, text, label, cell in rows:
        where = row_name(path, row)
        sample = find(text)
        if sample is None:
            message = f"{where}: no sample has the id {text!r} (ids look like {ids[0]!r})"
            problems.append(Problem(path, message=message))
        elif sample in given:
            problems.append(
                Problem(path, message=f"{where}: the id {sample!r} appears twice: remove one of the two rows")
            )
        elif known := [name for name in (label, composed(label), without_point(label)) if name in labels]:
            given[sample] = labels[known[0]]
            weight = weight_in(cell)
            if weight is None:
                text = f"{where}: the weight is {cell!r}: it should be a number from 0 to 1"
                problems.append(Problem(path, message=text))
            else:
                weights[sample] = weight
        else:
            hint = nearest(label, classes)
            message = f"{where}: {label!r} is not among the classes{hint} ({', '.join(classes)})"
            if params.leave_out is None and label in ("", "-", "x"):
                message += "; leave_out names a mark to leave samples out"
            problems.append(Problem(path, message=message))
    train = data.split("train")
    own = dict(zip(train["id"], train["label"], strict=True))
    lacking = [sample for sample in own if sample not in given]
    if not problems and not params.partial and lacking:  # with a wrong id, the sample would be reported twice
        text = f"{path} lacks {len(lacking)} of {len(own)} training samples: true keeps their own labels"
        problems += params.mistake("partial", message=text).problems
        problems += [Problem(path, message=f"has no label for the training sample {sample!r}: add a row")
                     for sample in lacking]  # fmt: skip
    if problems:
        raise InputError(problems)
    found = [given.get(sample, label) for sample, label in own.items()]
    if all(label is None for label in found):
        raise params.mistake(
            "leave_out", message=f"{path} leaves out every training sample: give some a label"
        )
    others = sum(sample not in own for sample in given)
    if others and (params.partial or params.leave_out is not None):
        print(
            f"{path}: {others} of {len(given)} samples are not in the training split: their rows do nothing"
        )
    heavy = np.array([weights.get(sample, 1.0) for sample in own])
    if not heavy[[label is not None for label in found]].any():
        raise params.mistake(
            "weight_column",
            message=f"{path} gives every training sample the weight 0: give some a larger one",
        )
    return found, heavy


def weight_in(text: str) -> float | None:
    """The weight in a cell, 1 if it is empty; None if it is none."""
    try:
        weight = float(text) if text.strip() else 1.0
    except ValueError:
        return None
    return weight if 0 <= weight <= 1 else None
