"""Cleaned labels of a variant, in results/clean/NAME.

labels.csv has a row for each sample of the variant, its id and its label, or `LEFT_OUT`, and its weight
if samples have some: a variant of kind from_file reads it. test_labels.csv has the ids and labels of the
test split, whose labels only a person mends. changes.csv has a row for each decision: what was decided, why,
by whom and when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.config.sections.clean import Cleaning
from memtrack.data.corruption import WEIGHT, weight_in
from memtrack.data.decisions import Decision
from memtrack.data.tables import guarded, read_table, required_columns, row_name
from memtrack.data.variants import VariantData

LEFT_OUT = "(removed)"
LABELS, TEST_LABELS, CHANGES = "labels.csv", "test_labels.csv", "changes.csv"


def check_cleanable(variant: VariantData, options: Cleaning) -> None:
    """Raise an `InputError` if a table of labels cannot hold what the variant is."""
    if any(variant.copy_of) or variant.pixels is not None:
        what = "has copies of samples" if any(variant.copy_of) else "has changed pixels"
        text = f"{variant.name} {what}, which a table of labels cannot hold: remove it from clean.variants"
        raise options.mistake(message=text)
    if LEFT_OUT in variant.summary.classes:
        raise options.mistake(
            message=f"a class is called {LEFT_OUT!r}, the mark of samples that are removed: rename it"
        )


def decided_by_probability(
    variant: VariantData, probability: NDArray[np.float64], suggested: list[str], options: Cleaning
) -> dict[str, Decision]:
    """Decide by the probability (N,) that a label is wrong, and by the names of the suggested labels (N,)."""
    found = {}
    for row in np.flatnonzero(probability > options.above):
        reason = f"wrong with probability {probability[row]:.3f}"
        label = suggested[row] if options.then == "relabel" else ""
        weight = 1 - float(probability[row]) if options.then == "weight" else 1.0
        found[variant.ids[row]] = Decision(options.then, label, reason, weight=weight)
    return found


def weights_after(
    variant: VariantData, decisions: Mapping[str, Decision], options: Cleaning
) -> NDArray[np.float64]:
    """The weights of the samples in the training loss after the decisions, (N,)."""
    weights = np.ones(len(variant.ids)) if variant.weights is None else variant.weights.copy()
    for sample, decision in decisions.items():
        if decision.what == "weight":
            weights[variant.row[sample]] = decision.weight
        elif decision.what == "ambiguous" and options.ambiguous == "weight" and sample in variant.row:
            weights[variant.row[sample]] = options.weight
    return weights


def cleaned_labels(
    variant: VariantData, decisions: Mapping[str, Decision], options: Cleaning
) -> NDArray[np.int64]:
    """The class numbers after the decisions, int64 (N,); -1: the sample is removed.

    Raises:
        InputError: if no sample stays.
    """
    return _decided(variant.ids, variant.given, variant.summary.classes, decisions, options)


def mended_tests(
    tests: Mapping[str, int], classes: Sequence[str], decisions: Mapping[str, Decision], options: Cleaning
) -> NDArray[np.int64]:
    """As `cleaned_labels`, for the test samples. `tests`: the class number of each."""
    given = np.array(list(tests.values()), dtype=np.int64)
    return _decided(list(tests), given, classes, decisions, options)


def _decided(
    ids: Sequence[str],
    given: NDArray[np.int64],
    classes: Sequence[str],
    decisions: Mapping[str, Decision],
    options: Cleaning,
) -> NDArray[np.int64]:
    labels = given.copy()
    for row, sample in enumerate(ids):
        decision = decisions.get(sample)
        if decision is None:
            continue
        if decision.what == "relabel":
            labels[row] = classes.index(decision.label)
        elif decision.what == "remove" or (decision.what == "ambiguous" and options.ambiguous == "remove"):
            labels[row] = -1
    if (labels < 0).all():
        raise InputError([Problem(Path(options.decisions), message="removes every sample: keep some")])
    return labels


def write_cleaned(
    folder: Path,
    variant: VariantData,
    decisions: Mapping[str, Decision],
    labels: NDArray[np.int64],
    tests: Mapping[str, int] | None = None,
    mended: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Write labels.csv, test_labels.csv and changes.csv to `folder`.

    Args:
        labels: the class numbers after the decisions, (N,). tests: the class number of each of the T test
            samples before them. mended: those after them, (T,).
        weights: of the samples in the training loss, (N,); None: nothing weighs samples.
    """
    names = np.array([*variant.summary.classes, LEFT_OUT], dtype=object)
    folder.mkdir(parents=True, exist_ok=True)
    tests = tests or {}
    given = dict(zip([*variant.ids, *tests], names[[*variant.given, *tests.values()]], strict=True))
    rows = [(sample, given[sample], decision) for sample, decision in decisions.items()]
    changes = pd.DataFrame(
        {
            "id": [sample for sample, _, _ in rows],
            "split": ["test" if sample in tests else "train" for sample, _, _ in rows],
            "given_label": [label for _, label, _ in rows],
            "decision": [decision.what for _, _, decision in rows],
            "label": [decision.label for _, _, decision in rows],
            "reason": [decision.reason for _, _, decision in rows],
            "by": [decision.by for _, _, decision in rows],
            "when": [decision.when for _, _, decision in rows],
        }
    )
    changes = changes.map(guarded)
    cleaned = pd.DataFrame({"id": variant.ids, "label": names[labels]})
    if weights is not None:
        cleaned[WEIGHT] = weights
        own = dict(zip(variant.ids, weights.tolist(), strict=True))
        changes[WEIGHT] = [own.get(sample, 1.0) for sample, _, _ in rows]
    changes.to_csv(folder / CHANGES, index=False)
    cleaned.to_csv(folder / LABELS, index=False)
    mended = np.array([], dtype=np.int64) if mended is None else mended
    pd.DataFrame({"id": list(tests), "label": names[mended]}).to_csv(folder / TEST_LABELS, index=False)


def cleaning_counts(
    variant: VariantData,
    decisions: Mapping[str, Decision],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> dict[str, int]:
    """How many labels (N,) and weights (N,) were changed; if some labels are known to be wrong, how many were
    and are."""
    changed, removed = labels != variant.given, labels < 0
    found = {
        "samples": len(labels),
        "decided": sum(sample in variant.row for sample in decisions),
        "relabelled": int((changed & ~removed).sum()),
        "removed": int(removed.sum()),
        "weighted": int(((weights < 1) & ~removed).sum()),
    }
    if variant.flags_known:
        found["wrong_before"] = int(variant.corrupted.sum())
        found["wrong_after"] = int(((labels != variant.clean) & ~removed).sum())
        found["right_lost"] = int((changed & ~variant.corrupted).sum())
    return found


def read_cleaned(folder: Path, variant: VariantData) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class numbers that labels.csv in `folder` gives the samples, int64 (N,), -1: removed; and their
    weights, (N,).

    Raises:
        InputError: if the table is not that of this variant, or a weight is no number from 0 to 1.
    """
    path = folder / LABELS
    table = read_table(path)
    required_columns(table, ["id", "label"], path)
    numbers = {name: number for number, name in enumerate(variant.summary.classes)} | {LEFT_OUT: -1}
    labels = [numbers.get(label) for label in table["label"]]
    if table["id"].tolist() != variant.ids or None in labels:
        remedy = f"run `dvc repro clean@{variant.name}`"
        raise InputError([Problem(path, message=f"is not that of {variant.name} as it is now: {remedy}")])
    weights = [weight_in(cell) for cell in table[WEIGHT]] if WEIGHT in table else [1.0] * len(table)
    wrong = [row for row, weight in zip(table.index, weights, strict=True) if weight is None]
    if wrong:
        text = f"{row_name(path, wrong[0])}: the weight should be a number from 0 to 1"
        raise InputError([Problem(path, message=f"{text}: run `dvc repro clean@{variant.name}`")])
    return np.array(labels, dtype=np.int64), np.array(weights, dtype=np.float64)
