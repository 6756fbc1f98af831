"""The tables of samples that stages evaluate and memorization write, read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.data.variants import VariantData

WORDS = ("id", "image", "given_label", "clean_label", "predicted_label", "corrupted")


def read_scores(path: Path, variant: VariantData) -> pd.DataFrame:
    """All columns, in the order of the samples; class names stay as they are, also None and 007. `InputError`
    where the table is damaged, or of other samples."""
    table = _Table(path, variant.ids, f"run `dvc repro evaluate@{variant.name}`")
    numbers = {name: table.numbers(name) for name in map(str, table.words) if name not in WORDS}
    return table.words.assign(**numbers).reset_index(drop=True)


def score_names(table: pd.DataFrame) -> list[str]:
    """The names of the scores, the first one first."""
    return [name for name in table.columns if f"{name}_rank" in table.columns]


def read_memorization(folder: Path, variant: VariantData) -> NDArray[np.float64]:
    """The memorization of each sample (N,), from memorization.csv in `folder`; NaN where it is not known,
    since no network, or each one, was trained on it."""
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
    """A table as `words`, a row for each of `ids` in their order.

    Raises:
        InputError: where it is damaged, or of others; it ends with `remedy`.
    """

    def __init__(self, path: Path, ids: Sequence[str], remedy: str) -> None:
        self._path, self._remedy = path, remedy
        try:
            content = path.read_bytes()
            table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        except OSError as error:
            raise self._problem(f"cannot be read ({error.strerror})") from None
        except ValueError as error:  # as pandas' own errors are
            raise self._problem(f"is damaged ({error})") from None
        if not content.endswith(b"\n") or "id" not in table or sorted(table["id"]) != sorted(ids):
            raise self._problem("is damaged or of other samples")
        self.words = table.set_index("id", drop=False).loc[list(ids)]

    def numbers(self, name: str, rows: NDArray[np.bool_] | slice = slice(None)) -> pd.Series[float]:
        """A column of numbers, whole or in some rows."""
        try:
            found = pd.to_numeric(self.words[name][rows])
        except (KeyError, ValueError):
            found = pd.Series([np.nan])
        if found.isna().any():
            raise self._problem(f"is damaged (column {name})")
        return found

    def _problem(self, text: str) -> InputError:
        return InputError([Problem(self._path, message=f"{text}: {self._remedy}")])
