"""The report of stage `duplicates`: the table of duplicates, and a picture of the conflicting ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from memtrack.core.labels.duplicates import Pair, groups
from memtrack.data.variants import VariantData
from memtrack.report import figures
from memtrack.report.captions import caption
from memtrack.report.metrics import DuplicatesMetrics
from memtrack.report.sample_tables import score_names

SHEET = 50
"""The number of images on the contact sheet."""


def duplicate_table(variant: VariantData, pairs: Sequence[Pair], scores: pd.DataFrame) -> pd.DataFrame:
    """duplicates.csv: a row for each sample that has a duplicate, group by group.

    Groups with different labels come first. Otherwise, groups are sorted by their most suspect sample
    according to the first score. distance is the distance to the nearest duplicate, in units of the usual
    distance between neighbours; it is 0 for equal pixels. by is "pixels" or "features": how it was found.

    Args:
        scores: scores.csv, see `read_scores`.
    """
    group = groups(pairs, len(variant.ids))
    nearest: dict[int, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.distance):
        nearest[pair.first] = nearest[pair.second] = pair
    rows = sorted(nearest)
    table = pd.DataFrame(
        {
            "group": group[rows],
            "id": [variant.ids[row] for row in rows],
            "distance": [round(nearest[row].distance, 4) for row in rows],
            "by": [nearest[row].by for row in rows],
        }
    ).merge(scores, on="id", validate="one_to_one")
    first_score = score_names(scores)[0]
    by_group = table.groupby("group")
    table.insert(1, "conflicting", by_group["given_label"].transform("nunique") > 1)
    order = pd.DataFrame({"conflict": ~table["conflicting"], "most": -by_group[first_score].transform("max"),
                          "group": table["group"], "own": -table[first_score]})  # fmt: skip
    table = table.loc[order.sort_values(list(order.columns)).index]
    numbers = {old: new for new, old in enumerate(dict.fromkeys(table["group"]), start=1)}
    return table.assign(group=table["group"].map(numbers)).reset_index(drop=True)


def duplicate_metrics(pairs: Sequence[Pair], table: pd.DataFrame) -> DuplicatesMetrics:
    """The content of metrics.json."""
    return DuplicatesMetrics(
        exact_pairs=sum(pair.exact for pair in pairs),
        near_pairs=sum(not pair.exact for pair in pairs),
        groups=table["group"].nunique(),
        conflicting_groups=table.loc[table["conflicting"], "group"].nunique(),
    )


def draw_conflicts(variant: VariantData, table: pd.DataFrame, path: Path) -> None:
    """Draw the first duplicates with different labels on a contact sheet."""
    shown = table[table["conflicting"]].head(SHEET)
    images = variant.read([variant.row[sample] for sample in shown["id"]])
    captions = [
        f"group {row.group}\n{caption(row.id, f'given {row.given_label}')}" for row in shown.itertuples()
    ]
    figures.contact_sheet(images, captions, (shown["corrupted"] == "1").tolist(), path)
