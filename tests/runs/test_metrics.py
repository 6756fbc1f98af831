"""history.csv: a row for each epoch, every number as it was."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from memtrack.runs.metrics import COLUMNS, write_history

PATH = Path("history.csv")
TRAINED = ("train_loss", "train_accuracy", "test_accuracy", "learning_rate")
RECORDED = (*TRAINED, "susceptibility", "mean_curvature", "curvature_auroc_so_far")


def read() -> list[dict[str, str]]:
    with PATH.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_number_comes_back_and_what_is_not_there_is_empty() -> None:
    draw = np.random.default_rng(0)
    names = {1: TRAINED, 2: RECORDED, 3: (*TRAINED, "mean_curvature"), 10: RECORDED}
    rows = {
        epoch: {name: float(draw.standard_normal() * 10.0 ** draw.integers(-12, 12)) for name in chosen}
        for epoch, chosen in names.items()
    }
    write_history(PATH, rows)
    there = read()
    assert [row["epoch"] for row in there] == ["1", "2", "3", "10"]
    for row, (epoch, numbers) in zip(there, rows.items(), strict=True):
        assert tuple(row) == COLUMNS
        for name in COLUMNS[1:]:
            assert row[name] == (repr(rows[epoch][name]) if name in numbers else "")
    table = pd.read_csv(PATH)
    assert table["mean_curvature"].isna().tolist() == [True, False, False, False]
    assert table["epoch"].tolist() == [1, 2, 3, 10]


def test_the_columns_do_not_depend_on_the_rows() -> None:
    write_history(PATH, {})
    assert PATH.read_text().splitlines() == [",".join(COLUMNS)]
    write_history(PATH, {1: {"train_loss": 1.0}})
    assert list(read()[0]) == list(COLUMNS)


def test_the_order_of_the_numbers_does_not_count() -> None:
    numbers = {name: float(place) for place, name in enumerate(RECORDED)}
    write_history(PATH, {1: numbers})
    first = PATH.read_bytes()
    write_history(PATH, {1: dict(reversed(numbers.items()))})
    assert PATH.read_bytes() == first


def test_a_number_without_a_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="train_los"):
        write_history(PATH, {1: {"train_los": 1.0}})
