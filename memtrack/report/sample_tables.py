"""Reads the tables of samples that the stages evaluate and memorization write."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.data.tables import unguarded
from memtrack.data.variants import VariantData

TEXT_COLUMNS = ("id", "image", "given_label", "clean_label", "predicted_label", "corrupted")


def read_scores(path: Path, variant: VariantData) -> pd.DataFrame:
    """All columns, in the order of the samples. Class names such as None and 007 are not converted.
    `InputError` if the table is damaged, or holds other samples."""
    table = _Table(path, variant.ids, f"run `dvc repro evaluate@{variant.name}`")
    numbers = {name: table.numbers(name) for name in map(str, table.text) if name not in TEXT_COLUMNS}
    return table.text.assign(**numbers).reset_index(drop=True)


def score_names(table: pd.DataFrame) -> list[str]:
    """The names of the scores, in the order of the table."""
    return [name for name in table.columns if f"{name}_rank" in table.columns]


def read_memorization(folder: Path, variant: VariantData) -> NDArray[np.float64]:
    """The memorization of each sample (N,), from memorization.csv in `folder`; NaN if no network, or every
    network, was trained on the sample, so that it is not known."""
    table = _Table(folder / "memorization.csv", variant.ids, _remedy(variant.name))
    known = ((table.numbers("trained") > 0) & (table.numbers("left_out") > 0)).to_numpy()
    found = np.full(len(known), np.nan)
    found[known] = table.numbers("memorization", known)
    return found


def read_influenced(folder: Path, tests: Sequence[str], variant: str) -> NDArray[np.bool_]:
    """Which test samples are in an influential pair beyond the noise, (T,), from test.csv in `folder`."""
    return (_Table(folder / "test.csv", tests, _remedy(variant)).numbers("sure_pairs") > 0).to_numpy()


def _remedy(variant: str) -> str:
    return f"with {variant} in memorization.variants, run `dvc repro memorization@{variant}`"


class _Table:
    """A table as strings, in `text`, with a row for each of `ids` in their order.

    Raises:
        InputError: if it is damaged, or holds other samples. The message ends with `remedy`.
    """

    def __init__(self, path: Path, ids: Sequence[str], remedy: str) -> None:
        self._path, self._remedy = path, remedy
        try:
            content = path.read_bytes()
            table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
            for name in table.columns.intersection(list(TEXT_COLUMNS)):
                table[name] = table[name].map(unguarded)
        except OSError as error:
            raise self._problem(f"cannot be read ({error.strerror})") from None
        except ValueError as error:  # the errors of pandas are among these
            raise self._problem(f"is damaged ({error})") from None
        if not content.endswith(b"\n") or "id" not in table or sorted(table["id"]) != sorted(ids):
            raise self._problem("is damaged or holds other samples")
        self.text = table.set_index("id", drop=False).loc[list(ids)]

    def numbers(self, name: str, rows: NDArray[np.bool_] | slice = slice(None)) -> pd.Series[float]:
        """A column of numbers, in all rows or in some."""
        try:
            found = pd.to_numeric(self.text[name][rows])
        except (KeyError, ValueError):
            found = pd.Series([np.nan])
        if found.isna().any():
            raise self._problem(f"is damaged (column {name})")
        return found

    def _problem(self, text: str) -> InputError:
        return InputError([Problem(self._path, message=f"{text}: {self._remedy}")])
