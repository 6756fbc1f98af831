"""The report of stage `quality`: issues.csv, and a picture of what is worst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.labels.duplicates import Pair
from memtrack.data.all_images import AllImages
from memtrack.report import figures
from memtrack.report.captions import caption
from memtrack.report.metrics import ISSUES, LEAKS, QualityMetrics

COLUMNS = ("id", "split", "label", "issue", "value", "other_id", "other_label")
SMALL = 0.1
"""A class is small if it has less than this share of the samples that each class would have of equal ones."""
WORST = 10
"""The number of images of each kind in the picture."""
Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Rows of samples, and a value of each."""


def small_classes(labels: Sequence[str]) -> Found:
    """The rows of the training samples in small classes, and the size of the class of each, divided by the
    size that each class would have of equal ones.

    Source: the rule of cleanlab's Datalab, for every small class and not the smallest alone.
    """
    names, classes, counts = np.unique(
        np.asarray(labels, dtype=object), return_inverse=True, return_counts=True
    )
    sizes = (counts * len(names) / max(len(labels), 1))[classes]
    rows = np.flatnonzero(sizes < SMALL)
    return rows, sizes[rows]


def issue_table(images: AllImages, found: Mapping[str, Found], leaks: Iterable[Pair]) -> pd.DataFrame:
    """issues.csv: a row for each sample and kind of issue, by kind, the worst first.

    A leak is one row: the training sample, the distance as in duplicates.csv, and the test sample with its
    label. found: the rows of samples with the other kinds of issues.
    """
    rows = [
        (kind, row, value, -1)
        for kind, (members, values) in found.items()
        for row, value in zip(members.tolist(), values.tolist(), strict=True)
    ]
    for pair in leaks:
        same = images.labels[pair.first] == images.labels[pair.second]
        rows.append((LEAKS[not same], pair.first, pair.distance, pair.second))
    order = list(ISSUES)
    rows.sort(
        key=lambda found: (order.index(found[0]), -found[2] if found[0] == "outlier" else found[2], found[1:])
    )
    cells = [
        (
            images.ids[row],
            images.splits[row],
            images.labels[row],
            kind,
            round(value, 4),
            images.ids[other] if other >= 0 else "",
            images.labels[other] if other >= 0 else "",
        )
        for kind, row, value, other in rows
    ]
    return pd.DataFrame(cells, columns=list(COLUMNS))


def quality_metrics(table: pd.DataFrame, usual: Mapping[str, float]) -> QualityMetrics:
    """The content of metrics.json."""
    leaks = table[table["issue"].isin(LEAKS)]
    sides = {"train": table[table["split"] == "train"], "test": table[table["split"] == "test"]}
    sides["test"] = pd.concat([sides["test"], leaks.assign(id=leaks["other_id"])])
    counts = {
        split: {str(kind): int(part["id"].nunique()) for kind, part in rows.groupby("issue")}
        for split, rows in sides.items()
    }
    return QualityMetrics(
        **counts,
        usual=dict(usual),
        leaks=int((leaks["issue"] == "leak").sum()),
        conflicting_leaks=int((leaks["issue"] == "conflicting_leak").sum()),
    )


def draw_issues(images: AllImages, table: pd.DataFrame, path: Path) -> None:
    """Draw the worst images of each kind; those of leaks beside the test image."""
    rows = {
        (split, sample): row
        for row, (split, sample) in enumerate(zip(images.splits, images.ids, strict=True))
    }
    shown, captions = [], []
    for kind, part in table.groupby("issue", sort=False):
        for issue in part.head(WORST).itertuples():
            for split, sample, label in (
                (issue.split, issue.id, issue.label),
                *([("test", issue.other_id, issue.other_label)] if kind in LEAKS else ()),
            ):
                shown.append(rows[split, sample])
                captions.append(f"{ISSUES[str(kind)]}\n{caption(sample, f'{split}, {label}')}")
    figures.contact_sheet(images.read(shown), captions, [False] * len(shown), path)
