"""Writes large tables of samples, and reads those that the stages evaluate and memorization write."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from memtrack.config.json_files import read_json
from memtrack.data.manifest import KeptFolder
from memtrack.data.tables import FORMULAS
from memtrack.data.variants import VariantData
from memtrack.report.metrics import SuspectsMetrics

TEXT_COLUMNS = (
    "id",
    "image",
    "given_label",
    "clean_label",
    "predicted_label",
    "suggested_label",
    "kind",
    "corrupted",
)


CHUNK = 50_000
"""The number of rows that are turned into text at once."""


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table for people: without its index, and with a `guarded` text in every cell of text.

    Except for that, these are the bytes that `to_csv` writes, in a third of the time, but text with only a
    carriage return is quoted too, so that it can be read.
    """
    with path.open("wb") as file:
        file.write(_lines(_quoted(pa.array([name])) for name in table))
        for start in range(0, len(table), CHUNK):
            part = table.iloc[start : start + CHUNK]
            file.write(_lines(_cells(part[name]) for name in part))


def _lines(columns: Iterable[pa.Array]) -> bytes:
    rows = pc.binary_join_element_wise(*columns, ",").to_pylist()
    return "".join(f"{row}\n" for row in rows).encode()


def _cells(column: pd.Series[Any]) -> pa.Array:
    """The cells of a column as text."""
    values = column.to_numpy()
    if values.dtype.kind == "f":
        # pyarrow's shortest digits are Python's, but 1.0, 1e-05 and 12345678901.5 are written in another way
        cells, size = pc.cast(pa.array(values), pa.string()), np.abs(values)
        other = ~((size >= 1e-4) & (size < 1e10) & (values != np.floor(values)))
        texts = ["" if np.isnan(value) else repr(value) for value in values[other].tolist()]
        return pc.replace_with_mask(cells, pa.array(other), pa.array(texts, pa.string()))
    if values.dtype.kind == "i":
        return pc.cast(pa.array(values), pa.string())
    try:
        texts = pa.array(values, pa.string(), from_pandas=True)
    except pa.ArrowTypeError:  # other things than text, such as whether a pair conflicts
        texts = pa.array([None if pd.isna(cell) else str(cell) for cell in values], pa.string())
    texts = texts.fill_null("")
    formulas = pc.is_in(pc.utf8_slice_codeunits(texts, 0, 1), pa.array(sorted(FORMULAS)))
    return _quoted(pc.if_else(formulas, pc.binary_join_element_wise("'", texts, ""), texts))


def _quoted(texts: pa.Array) -> pa.Array:
    special = pc.match_substring_regex(texts, '[,"\r\n]')
    return pc.if_else(
        special, pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', ""), texts
    )


def _unguarded(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.replace_substring_regex(texts, "^'", "")


TABLE, TEST_TABLE = "scores.csv", "test_scores.csv"
AVERAGED = "averaged.csv"
HALVES, PROBABILITIES, TURN_OVER = "halves.csv", "probabilities.npy", "turn_over.npy"
LIRA = "lira"
"""The column of the privacy score in memorization.csv."""
SUSPECTS, METRICS = "suspects.csv", "metrics.json"
LEARNED = ("suspicion", "mislabelled", "suggested_probability")
"""The numbers in suspects.csv. suspicion: the larger, the more suspect. mislabelled: the probability that the
given label is wrong. suggested_probability: that the suggested one is right."""


def read_scores(folder: Path, variant: VariantData, made_from: Mapping[str, Any]) -> pd.DataFrame:
    """All columns of scores.csv in `folder`, in the order of the samples. Class names such as None and 007
    are not converted.

    Args:
        made_from: what the scores should be made from, see `evaluation_causes`.

    Raises:
        InputError: if the table is damaged, or made from something else.
    """
    return read_table_of(folder, TABLE, variant.name, variant.ids, made_from)


def read_table_of(
    folder: Path, name: str, variant: str, ids: Sequence[str], made_from: Mapping[str, Any]
) -> pd.DataFrame:
    """All columns of a table of stage evaluate with a row for each of `ids`, in their order; otherwise as
    `read_scores`."""
    table = _Table(folder, name, made_from, ids, f"run `dvc repro evaluate@{variant}`")
    return pd.DataFrame(
        {name: table.text(name) if name in TEXT_COLUMNS else table.numbers(name) for name in table.columns}
    )


def read_suspects(
    folder: Path, variant: VariantData, made_from: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """The suspicion and the probabilities that stage suspects learned, each (N,), from suspects.csv in
    `folder`. It should be made from `made_from`, see `suspects_causes`."""
    table = _suspects(folder, variant, made_from)
    return {name: table.numbers(name).astype(np.float64) for name in LEARNED}


def read_suggestions(
    folder: Path, variant: VariantData, made_from: Mapping[str, Any]
) -> tuple[NDArray[np.float64], list[str]]:
    """The probability that each given label is wrong, (N,), and the names of the labels that stage suspects
    suggests in their place, (N,); as `read_suspects`."""
    table = _suspects(folder, variant, made_from)
    return table.numbers("mislabelled").astype(np.float64), table.text("suggested_label").tolist()


def read_averaged(
    folder: Path, scores: Iterable[str], variant: VariantData, made_from: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """The mean ranks of the samples by each of these averaged scores, (N,), from `folder`. They should be
    made from `made_from`, see `averaged_causes`."""
    table = _Table(folder, AVERAGED, made_from, variant.ids, f"run `dvc repro averaged@{variant.name}`")
    return {name: table.numbers(name).astype(np.float64) for name in scores}


def read_doubt(folder: Path, variant: VariantData) -> str | None:
    """Why stage suspects doubts its probabilities, from metrics.json in `folder`; None if it does not. As
    `read_suggestions`, which has read the rest."""
    path = KeptFolder(folder, _suspects_remedy(variant)).file(METRICS)
    return read_json(SuspectsMetrics, path).doubt


def read_halves(folder: Path, variant: VariantData, made_from: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What the networks of stage halves say, from `folder`: `holdout_loss`, `forgotten` and `probabilities`,
    see `memtrack.core.scores.halves.Halves`. It should be made from `made_from`, see `halves_causes`."""
    remedy = f"run `dvc repro halves@{variant.name}`"
    table = _Table(folder, HALVES, made_from, variant.ids, remedy)
    found = {name: table.numbers(name).astype(np.float64) for name in ("holdout_loss", "forgotten")}
    with KeptFolder(folder, remedy).reading(PROBABILITIES) as path:
        return {**found, "probabilities": np.load(path, allow_pickle=False).astype(np.float64)}


def read_turn_over(folder: Path, variant: VariantData) -> NDArray[np.float64]:
    """The self-influence of each sample by turn-over dropout, (N,), from turn_over.npy in `folder`, of which
    `read_halves` has read the rest."""
    kept = KeptFolder(folder, f"run `dvc repro halves@{variant.name}`")
    with kept.reading(TURN_OVER) as path:
        found = np.load(path, allow_pickle=False).astype(np.float64)
        if found.shape != (len(variant.ids),):
            raise ValueError("other samples")
    return found


def _suspects(folder: Path, variant: VariantData, made_from: Mapping[str, Any]) -> _Table:
    return _Table(folder, SUSPECTS, made_from, variant.ids, _suspects_remedy(variant))


def _suspects_remedy(variant: VariantData) -> str:
    return f"run `dvc repro suspects@{variant.name}`"


def score_names(table: pd.DataFrame) -> list[str]:
    """The names of the scores, in the order of the table."""
    return [name for name in table.columns if f"{name}_rank" in table.columns]


def read_memorization(
    folder: Path, variant: VariantData, made_from: Mapping[str, Any]
) -> NDArray[np.float64]:
    """The memorization of each sample (N,), from memorization.csv in `folder`; NaN if no network, or every
    network, was trained on the sample, so that it is not known. It should be made from `made_from`, see
    `memorization_causes`."""
    table = _Table(folder, "memorization.csv", made_from, variant.ids, _remedy(variant.name))
    known = (table.numbers("trained") > 0) & (table.numbers("left_out") > 0)
    found = np.full(len(known), np.nan)
    found[known] = table.numbers("memorization", known)
    return found


def read_lira(folder: Path, variant: VariantData, made_from: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """The privacy score of each sample, (N,), from memorization.csv in `folder`; None if it is not known for
    every sample. It should be made from `made_from`, see `memorization_causes`."""
    table = _Table(folder, "memorization.csv", made_from, variant.ids, _remedy(variant.name))
    if LIRA in table.columns and not (table.text(LIRA) == "").any():
        return table.numbers(LIRA).astype(np.float64)
    return None


def read_influenced(
    folder: Path, tests: Sequence[str], variant: VariantData, made_from: Mapping[str, Any]
) -> NDArray[np.bool_]:
    """Which test samples are in an influential pair beyond the noise, (T,), from test.csv in `folder`."""
    table = _Table(folder, "test.csv", made_from, tests, _remedy(variant.name))
    return table.numbers("sure_pairs") > 0


def _remedy(variant: str) -> str:
    return f"with {variant} in memorization.variants, run `dvc repro memorization@{variant}`"


class _Table:
    """A table with a row for each of `ids`, read in their order.

    Raises:
        InputError: if it is damaged, made from something else, or holds other samples; ends with `remedy`.
    """

    def __init__(
        self, folder: Path, name: str, made_from: Mapping[str, Any], ids: Sequence[str], remedy: str
    ) -> None:
        self._kept, self._name = KeptFolder(folder, remedy), name
        self._kept.require(**made_from)
        with self._kept.reading(name) as path:
            with path.open(encoding="utf-8", newline="") as text:
                self.columns = next(csv.reader(text))
            self._table = arrow_csv.read_csv(
                path,
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, pa.string())
                ),
            )
            found = pd.Index(_unguarded(self._table["id"]).to_pandas())
            self._rows = found.get_indexer(pd.Index(ids))
            if len(found) != len(ids) or -1 in self._rows:
                raise ValueError("other samples")

    def text(self, name: str) -> pd.Series[str]:
        """A column of text."""
        return _unguarded(self._table[name].combine_chunks()).take(self._rows).to_pandas()

    def numbers(self, name: str, rows: NDArray[np.bool_] | slice = slice(None)) -> NDArray[Any]:
        """A column of numbers, in all rows or in some."""
        chosen = self._rows[rows]
        try:
            cells = self._table[name]
            if len(chosen) < len(cells):
                cells, chosen = cells.combine_chunks().take(chosen), np.arange(len(chosen))
            try:
                found = pc.cast(cells, pa.int64())
            except ValueError:
                found = pc.cast(cells, pa.float64())
            ordered = found.to_numpy()[chosen]
        except (KeyError, ValueError):
            ordered = np.array([np.nan])
        if np.isnan(ordered).any():
            raise self._kept.problem(self._name, f"is damaged (column {name})")
        return ordered
