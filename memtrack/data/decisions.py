"""A person's decisions about the labels of a variant: decisions.csv, as the page exports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from memtrack.config.errors import InputError, Problem
from memtrack.config.validation import nearest
from memtrack.core.files import whole_file
from memtrack.data.class_names import without_point
from memtrack.data.tables import finder, guarded, read_table, required_columns, row_name, unguarded
from memtrack.data.variants import VariantData

What = Literal["keep", "relabel", "ambiguous", "remove", "weight"]
WHATS: tuple[What, ...] = get_args(What)[:-1]
"""What a person may decide; the last follows from probabilities alone."""
OTHERS = ("label", "given_label", "note", "by", "when")
"""Columns that may be there besides id and decision."""


@dataclass(frozen=True)
class Decision:
    """What happens to a sample, and why. label: its new class if it is relabelled, else ''. by, when: who
    decided, and when, in that person's words. weight: in the training loss."""

    what: What
    label: str = ""
    reason: str = ""
    by: str = ""
    when: str = ""
    weight: float = 1.0


def read_decisions(
    path: Path, variant: VariantData, tests: Mapping[str, str] | None = None
) -> dict[str, Decision]:
    """The decisions of a table, by sample.

    It has the columns id and decision, and label if there is one to relabel. The other columns of the page's
    export may be there: given_label is compared with the variant, and note, by and when are kept.

    Args:
        tests: the labels of the test samples, which may be decided about, too.

    Raises:
        InputError: with the row of every id, decision or label that cannot be followed.
    """
    table = read_table(path)
    there = {str(name) for name in table.columns}
    required_columns(table, ["id", "decision", *(name for name in OTHERS if name in there)], path)
    if any(str(cell).strip().lower() == "relabel" for cell in table["decision"]):
        required_columns(table, ["label"], path)
    given = dict(zip(variant.ids, (variant.summary.classes[number] for number in variant.given), strict=True))
    given |= tests or {}
    find = finder(list(given))
    found: dict[str, Decision] = {}
    problems: list[Problem] = []
    for row, cells in zip(table.index, table.to_dict("records"), strict=True):
        cells = {str(name): str(cell).strip() for name, cell in cells.items()}
        sample = find(cells["id"])
        if sample is None:
            wrong = f"{variant.name} has no sample {cells['id']!r} (ids look like {variant.ids[0]!r})"
        elif sample in found:
            wrong = f"the id {sample!r} appears twice: leave one of the two decisions"
        else:
            what = cells["decision"].lower()
            classes = variant.summary.classes
            label, before = (_class_name(cells.get(name, ""), classes) for name in ("label", "given_label"))
            wrong = _mistake(what, label, before, given[sample], classes)
            if not wrong:
                note, by, when = (unguarded(cells.get(name, "")) for name in ("note", "by", "when"))
                found[sample] = Decision(what, label, note, by, when)
        if wrong:
            problems.append(Problem(path, message=f"{row_name(path, row)}: {wrong}"))
    if problems:
        raise InputError(problems)
    return found


def _class_name(cell: str, classes: list[str]) -> str:
    """The class that a cell means, also as a spreadsheet or pandas writes it back; its text if it is none."""
    text = unguarded(cell)
    return text if text in classes else without_point(text)


def _mistake(what: str, label: str, before: str, given: str, classes: list[str]) -> str:
    """Why a decision cannot be followed, or ''."""
    if what not in WHATS:
        return f"{what!r} is not a decision{nearest(what, WHATS)} ({', '.join(WHATS)})"
    if before and before != given:
        return f"was decided about the label {before!r}, but it is {given!r} now: look at the sample again"
    if what != "relabel":
        return f"{what} takes no label, but there is {label!r}: write relabel, or no label" if label else ""
    if label not in classes:
        return f"{label!r} is not among the classes{nearest(label, classes)} ({', '.join(classes)})"
    return f"{label!r} is its label already: write keep" if label == given else ""


def write_decisions(path: Path, variant: VariantData, decisions: Mapping[str, Decision]) -> None:
    """Write decisions.csv, which `read_decisions` reads; by and when are columns if they are known."""
    given = (variant.summary.classes[variant.given[variant.row[sample]]] for sample in decisions)
    rows = [
        (sample, label, one.what, one.label, one.reason, one.by, one.when)
        for (sample, one), label in zip(decisions.items(), given, strict=True)
    ]
    known = any(one.by or one.when for one in decisions.values())
    columns = ["id", "given_label", "decision", "label", "note", "by", "when"]
    table = pd.DataFrame(rows, columns=columns, dtype=str)[columns if known else columns[:5]]
    with whole_file(path) as file:
        file.write(table.map(guarded).to_csv(index=False, lineterminator="\n").encode())
