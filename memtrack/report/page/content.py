"""What the page of a variant shows, as plain data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.sections.report import ReportParams
from memtrack.core.memorization.estimates import MEMORIZED
from memtrack.core.recording.trajectory import EpochArrays
from memtrack.core.scores import title
from memtrack.core.scores.suspicion import MISLABELLED, OUTVOTED, RARE, shown_kind
from memtrack.report.metrics import ISSUES
from memtrack.report.page.overview import overview
from memtrack.report.page.results import Results
from memtrack.report.page.sentences import (
    Learning,
    conflict_sentences,
    leak_sentence,
    neighbour_sentence,
    prediction_sentence,
)
from memtrack.report.page.sprites import COLUMNS, PER_SHEET, sprites
from memtrack.report.sample_tables import score_names

NEAREST = 3
"""How many neighbours of a sample are shown."""
OTHERS = 5000
"""How many neighbours that are not themselves on the page are shown with their image."""
EPOCHS = 40
"""The largest number of epochs that a trajectory on the page has."""
CONFLICTING = "conflicting"
"""A sample with a duplicate under another label; this goes before what the votes say."""
KINDS = ("", MISLABELLED, RARE, CONFLICTING, OUTVOTED)
"""What a sample may seem to be; see `shown_kind`."""
COLUMNS_READ = 100
"""Up to so many columns of a table are on the page."""
LETTERS, SHORTEST = 5_000_000, 60
"""All texts together have about so many letters at most, but each cell may have at least so many."""


def content(results: Results, options: ReportParams, shape: Sequence[int]) -> dict[str, Any]:
    """The content of the page, ready for JSON. `shape`: of an image, (channels, height, width)."""
    variant, table = results.variant, results.scores
    order = score_names(table)[0]
    shown = np.argsort(table[f"{order}_rank"].to_numpy(), kind="stable")[: options.samples]
    leaks = _leaks(results)
    tested = _tested(results, options.samples)
    first_test = results.images.first_test
    every = np.concatenate([shown, first_test + tested])
    numbers, others = _numbered(every, _near(results, shown, tested), leaks)
    pictured = np.concatenate([every, others[:OTHERS]])
    drawn = sprites(results.images.read, pictured.tolist(), shape, options.thumbnail)
    classes = {name: number for number, name in enumerate(variant.summary.classes)}
    epochs = _some(results.trajectory.epochs, EPOCHS)
    return {
        "variant": variant.name,
        "storage": f"memtrack {variant.name} {_identity(variant.causes)}",
        "samples": len(variant.ids),
        "trains": len(shown),
        "tests": 0 if results.tests is None else len(results.tests.scores),
        "settings": [list(pair) for pair in results.settings],
        "classes": list(variant.summary.classes),
        **overview(results, order),
        "epochs": list(epochs),
        "usual": {name: _medians(results.trajectory, name, epochs) for name in ("margin", "curvature")},
        "usual_test": [] if results.tests is None else _medians(results.tests.trajectory, "margin", epochs),
        "kinds": list(KINDS),
        "memorized": MEMORIZED,
        "issues": _issues(results),
        "scores": [{"key": key, "title": title(key)} for key in score_names(table)],
        "others": {
            "ids": [results.images.ids[row] for row in others],
            "given": _packed(np.array([classes[results.images.labels[row]] for row in others]), "<i4"),
            "pictured": min(len(others), OTHERS),
        },
        "shown": _samples(results, shown, tested, numbers, leaks, epochs),
        "words": _words(results, pictured),
        "sprites": {**asdict(drawn), "columns": COLUMNS, "per_sheet": PER_SHEET},
    }


def _tested(results: Results, most: int) -> NDArray[np.int64]:
    """The test samples on the page, at most so many, the most suspect first; by their rows in the split."""
    if results.tests is None:
        return np.empty(0, dtype=np.int64)
    table = results.tests.scores
    return np.argsort(table[f"{score_names(table)[0]}_rank"].to_numpy(), kind="stable")[:most]


def _near(results: Results, shown: NDArray[np.int64], tested: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of the nearest training samples of what is shown, (n, NEAREST); -1 where there are fewer."""
    parts = [results.neighbours[shown, :NEAREST]]
    if results.tests is not None:
        parts.append(results.tests.neighbours[tested, :NEAREST])
    return np.concatenate([
        np.pad(part, ((0, 0), (0, NEAREST - part.shape[1])), constant_values=-1) for part in parts
    ])  # fmt: skip


def _samples(
    results: Results,
    shown: NDArray[np.int64],
    tested: NDArray[np.int64],
    numbers: NDArray[np.int64],
    leaks: dict[int, int],
    epochs: Sequence[int],
) -> dict[str, Any]:
    """The samples on the page, those of the test split last; most of their numbers as arrays in base64,
    little-endian. What is not known of a test sample is NaN, 0 or -1."""
    variant, table = results.variant, results.scores
    tests = pd.DataFrame() if results.tests is None else results.tests.scores.iloc[tested]
    names = score_names(table)
    classes = {name: number for number, name in enumerate(variant.summary.classes)}
    known = variant.flags_known

    def both(own: NDArray[Any], of_tests: NDArray[Any] | float, kind: str) -> str:
        """The numbers of the training samples, then those of the test samples, or one number for all."""
        last = np.broadcast_to(np.asarray(of_tests), (len(tested), *own.shape[1:]))
        return _packed(np.concatenate([own, last]), kind)

    def coded(name: str) -> str:
        """The class numbers of a column of labels, -1 where there is none."""
        labels = [*table[name].iloc[shown], *(tests[name] if len(tests) else ())]
        return _packed(np.array([classes.get(label, -1) for label in labels]), "<i4")

    def column(name: str, kind: str = "<f4") -> str | None:
        """A column of numbers; None if neither table has it."""
        if name not in table and name not in tests:
            return None
        lacking = 0.0 if kind == "<i4" else np.nan
        own = table[name].to_numpy()[shown] if name in table else np.full(len(shown), lacking)
        return both(own, tests[name].to_numpy() if name in tests else lacking, kind)

    group = np.zeros(len(variant.ids), dtype=np.int64)
    conflicting = np.zeros(len(variant.ids), dtype=bool)
    kind = table["kind"].to_numpy(dtype=object, copy=True)
    if results.duplicates is not None:
        rows = [variant.row[sample] for sample in results.duplicates["id"]]
        group[rows] = results.duplicates["group"]
        conflicting[rows] = results.duplicates["conflicting"]
        kind[conflicting] = CONFLICTING
    said = pd.concat([table.iloc[shown].assign(kind=kind[shown]), tests])
    kinds = [shown_kind(*cells) for cells in said.reindex(columns=["kind", "mislabelled"]).to_numpy()]
    issues, duplicates, memorization = results.issues, results.duplicates, results.memorization
    margins = np.nan if results.tests is None else _epochs(results.tests.trajectory, "margin", tested, epochs)
    every = np.concatenate([shown, results.images.first_test + tested])
    return {
        "ids": [results.images.ids[row] for row in every],
        "given": coded("given_label"),
        "suggested": coded("suggested_label"),
        "clean": both(variant.clean[shown], -1, "<i4") if known else None,
        "mislabelled": column("mislabelled"),
        "suggested_probability": column("suggested_probability"),
        "memorization": None if memorization is None else both(memorization[shown], np.nan, "<f4"),
        "scores": [column(name) for name in names],
        "ranks": [column(f"{name}_rank", "<i4") for name in names],
        "margin": both(_epochs(results.trajectory, "margin", shown, epochs), margins, "<f4"),
        "curvature": both(_epochs(results.trajectory, "curvature", shown, epochs), np.nan, "<f4"),
        "neighbours": _packed(numbers[:, :NEAREST], "<i4"),
        "leak": None if issues is None else _packed(numbers[:, NEAREST], "<i4"),
        "issues": None if issues is None else _packed(_issue_bits(results)[every], "<u2"),
        "group": None if duplicates is None else both(group[shown], 0, "<i4"),
        "conflicting": None if duplicates is None else both(conflicting[shown], 0, "u1"),
        "kind": _packed(np.array([KINDS.index(name) for name in kinds]), "u1"),
        "why": [*_sentences(results, shown, leaks), *_test_sentences(results, tested)],
    }


def _words(results: Results, rows: NDArray[np.int64]) -> dict[str, Any] | None:
    """What people read of the samples of some rows, in their order; long texts are cut."""
    columns = results.images.columns
    if columns is None:
        return None
    shown = columns[:COLUMNS_READ]
    most = max(SHORTEST, LETTERS // (len(rows) * len(shown)))
    cells = [[_cut(cell, most) for cell in row[: len(shown)]] for row in results.images.words(rows)]
    return {"columns": shown, "left": len(columns) - len(shown), "rows": cells}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _sentences(results: Results, shown: NDArray[np.int64], leaks: dict[int, int]) -> list[str]:
    variant, names = results.variant, results.variant.summary.classes
    given = variant.given
    learning = Learning(results.trajectory, given)
    predicted = np.stack(
        [results.trajectory.load("predicted", epoch)[shown] for epoch in results.trajectory.epochs]
    )
    conflicts = (
        {}
        if results.duplicates is None
        else conflict_sentences(results.duplicates, variant.row, given, names, variant.read)
    )
    found = []
    for number, row in enumerate(shown.tolist()):
        near = results.neighbours[row]
        facts = (
            conflicts.get(row, ""),
            leak_sentence(results.images, row, leaks[row]) if row in leaks else "",
            learning.sentence(row, int(given[row]), predicted[:, number].astype(np.int64), names),
            neighbour_sentence(given[near[near >= 0]], int(given[row]), names),
        )
        found.append(" ".join(fact for fact in facts if fact))
    return found


def _test_sentences(results: Results, tested: NDArray[np.int64]) -> list[str]:
    if results.tests is None:
        return []
    names, tests = results.variant.summary.classes, results.tests
    classes = {name: number for number, name in enumerate(names)}
    predicted = np.stack([tests.trajectory.load("predicted", epoch) for epoch in tests.trajectory.epochs])
    found = []
    for row in tested.tolist():
        given, near = classes[tests.scores["given_label"].iloc[row]], tests.neighbours[row]
        facts = (
            prediction_sentence(predicted[:, row].astype(np.int64), given, names),
            neighbour_sentence(results.variant.given[near[near >= 0]], given, names),
        )
        found.append(" ".join(fact for fact in facts if fact))
    return found


def _numbered(
    shown: NDArray[np.int64], near: NDArray[np.int64], leaks: dict[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nearest neighbours (n, NEAREST) of the shown samples, and the test sample that is the same, if any,
    by number, (n, NEAREST + 1): those that are shown have the numbers from 0, the others the numbers after
    them, and -1 is none; and the rows of the others, those of test samples first. All rows are those of
    `Results.images`."""
    same = np.array([leaks.get(row, -1) for row in shown.tolist()], dtype=np.int64)
    near = np.column_stack([near, same])
    number = {row: place for place, row in enumerate(shown.tolist())}
    wanted = dict.fromkeys([*same.tolist(), *near.ravel().tolist()])
    others = [row for row in wanted if row >= 0 and row not in number]
    number |= {row: place for place, row in enumerate(others, start=len(shown))}
    found = np.array([number.get(row, -1) for row in near.ravel().tolist()], dtype=np.int64)
    return found.reshape(near.shape), np.array(others, dtype=np.int64)


def _leaks(results: Results) -> dict[int, int]:
    """For each training sample that is in the test split too, the first test sample; by rows."""
    if results.issues is None:
        return {}
    pairs = results.issues[results.issues["other"] >= 0].drop_duplicates("row")
    return dict(zip(pairs["row"].tolist(), pairs["other"].tolist(), strict=True))


def _issues(results: Results) -> list[dict[str, Any]]:
    """The kinds of issues that were found, and how many training and test samples have each."""
    if results.judged is None:
        return []
    train, test = results.judged.train, results.judged.test
    return [
        {"bit": bit, "title": words, "train": train.get(kind, 0), "test": test.get(kind, 0)}
        for bit, (kind, words) in enumerate(ISSUES.items())
        if kind in train or kind in test
    ]


def _issue_bits(results: Results) -> NDArray[np.int64]:
    """A bit for each kind of issue that a sample has, (N + T,); the first kind of `ISSUES` is bit 0."""
    found = np.zeros(len(results.images.ids), dtype=np.int64)
    if results.issues is not None:
        for bit, kind in enumerate(ISSUES):
            found[results.issues["row"][results.issues["issue"] == kind]] |= 1 << bit
    return found


def _medians(trajectory: EpochArrays, quantity: str, epochs: Sequence[int]) -> list[float]:
    return [float(np.median(trajectory.load(quantity, epoch).astype(np.float64))) for epoch in epochs]


def _epochs(
    trajectory: EpochArrays, quantity: str, shown: NDArray[np.int64], epochs: Sequence[int]
) -> NDArray[np.generic]:
    """Some epochs of a quantity of what is shown, (n, epochs)."""
    return np.stack([trajectory.load(quantity, epoch)[shown] for epoch in epochs], axis=1)


def _some(epochs: Sequence[int], most: int) -> tuple[int, ...]:
    """At most so many of the epochs, evenly chosen, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))
    return tuple(epochs[place] for place in chosen)


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _identity(causes: dict[str, Any]) -> str:
    """A hash of the images and the labels: marks of people belong to them."""
    return hashlib.sha256(json.dumps(causes, sort_keys=True).encode()).hexdigest()[:16]
