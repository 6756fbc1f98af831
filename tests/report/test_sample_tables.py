"""Tables of stages, read back by others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memtrack.config.errors import InputError
from memtrack.data.manifest import write_manifest
from memtrack.data.tables import guarded
from memtrack.report.sample_tables import (
    read_influenced,
    read_memorization,
    read_scores,
    score_names,
    write_csv,
)

CAUSES = {"data": {"images.npy": "1"}, "labels": "2", "pixels": None}


def variant(*ids: str) -> Any:
    return SimpleNamespace(ids=list(ids), name="noisy")


VARIANT = variant("a", "b")


def test_in_the_order_of_the_samples(tmp_path: Path) -> None:
    (tmp_path / "memorization.csv").write_text("id,trained,left_out,memorization\nb,2,1,0.5\na,3,0,\n")
    (tmp_path / "test.csv").write_text("id,sure_pairs\nx,2\ny,0\n")
    write_manifest(tmp_path, {**CAUSES, "share": 0.7})
    np.testing.assert_array_equal(read_memorization(tmp_path, VARIANT, CAUSES), [np.nan, 0.5])
    assert read_influenced(tmp_path, ["y", "x"], VARIANT, CAUSES).tolist() == [False, True]


@pytest.mark.parametrize(
    "content",
    ["b,2,1,0.5\na,2,1,word\n", "b,2,1,0.5\na,2,1,\n", "b,2,1,0.5\n",
     "b,2,1,0.5\nc,2,1,0.5\n", "b,2,1,0.5\na,,1,0.5\n", ""],
)  # fmt: skip
def test_damaged_memorization_is_said(content: str, tmp_path: Path) -> None:
    header = "id,trained,left_out,memorization\n"
    (tmp_path / "memorization.csv").write_text(f"{header}{content}" if content else "")
    write_manifest(tmp_path, CAUSES)
    with pytest.raises(InputError, match=r"damaged.*run `dvc repro memorization@noisy`"):
        read_memorization(tmp_path, VARIANT, CAUSES)


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there: with noisy in memorization\.variants, run"):
        read_memorization(tmp_path / "nowhere", VARIANT, CAUSES)
    write_manifest(tmp_path, CAUSES)
    with pytest.raises(InputError, match=r"memorization\.csv: is not there: with noisy in memorization"):
        read_memorization(tmp_path, VARIANT, CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_tables_of_another_variant_or_data_set_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("id,given_label,loss,loss_rank\nb,None,0.5,1\na,007,0.25,2\n")
    write_manifest(tmp_path, {**CAUSES, name: "other"})
    with pytest.raises(InputError, match=f"different: {name}\\): run `dvc repro evaluate@noisy`"):
        read_scores(tmp_path, VARIANT, CAUSES)


def test_scores_in_the_order_of_the_samples(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("id,given_label,loss,loss_rank\nb,None,0.5,1\na,007,0.25,2\n")
    write_manifest(tmp_path, CAUSES)
    found = read_scores(tmp_path, VARIANT, CAUSES)
    expected = pd.DataFrame({"id": ["a", "b"], "given_label": ["007", "None"], "loss": [0.25, 0.5],
                             "loss_rank": [2, 1]})  # fmt: skip
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert found["loss_rank"].dtype == np.int64
    assert score_names(found) == ["loss"]


def test_names_that_are_guarded_against_spreadsheets(tmp_path: Path) -> None:
    names = ["-1.png", "=a", "'b", "c'"]
    written = pd.DataFrame({"id": names, "given_label": ["@x", "", "'", "+1"], "loss": [-0.5, 1.0, 2.0, 3.0]})
    write_csv(written.assign(loss_rank=range(4)), tmp_path / "scores.csv")
    write_manifest(tmp_path, CAUSES)
    found = read_scores(tmp_path, variant(*names[::-1]), CAUSES)
    assert found["id"].tolist() == names[::-1]
    assert found["given_label"].tolist() == ["+1", "'", "", "@x"]
    assert found["loss"].tolist() == [3.0, 2.0, 1.0, -0.5]


def test_tables_are_written_as_pandas_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte: names that need quotes, numbers of every size and kind, and what is missing."""
    monkeypatch.setattr("memtrack.report.sample_tables.CHUNK", 300)
    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)  # any bits at all
    numbers[np.isnan(numbers)] = 1e10 / 3
    numbers[:12] = [0, -0.0, 1, 1e-4, 9.999e-5, 1e15, 1e16, 123456789.5, -2.5, np.nan, np.inf, -np.inf]
    names = ["plain", "", "a, b", 'the "x"', "two\nlines", "a\r\n", "007", "None", "é", " edge ", "'", "=1+1"]
    texts = np.array(names, dtype=object)[draw.integers(0, len(names), 2000)]
    table = pd.DataFrame({"id": texts, 'a "name", quoted': texts, "empty": "", "some": [None, "x"] * 1000,
                          "flag": draw.random(2000) < 0.5, "mixed": [True, "", None, 1] * 500,
                          "score": numbers, "usual": draw.normal(size=2000).astype(np.float32).astype(float),
                          "rank": draw.integers(-9, 10**9, 2000)})  # fmt: skip
    table.index = draw.permutation(2000)
    write_csv(table, tmp_path / "ours.csv")
    table.map(lambda cell: guarded(cell) if isinstance(cell, str) else cell).to_csv(
        tmp_path / "theirs.csv", index=False
    )
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    draw, ids = np.random.default_rng(1), [f"s{row}, \n" for row in range(300)]
    scores = draw.lognormal(0, 9, 300)
    table = pd.DataFrame({"id": ids, "given_label": ["a\r\nb", "\r", "\""] * 100, "loss": scores,
                          "loss_rank": draw.permutation(300)})  # fmt: skip
    write_csv(table.sample(frac=1, random_state=0), tmp_path / "scores.csv")
    write_manifest(tmp_path, CAUSES)
    found = read_scores(tmp_path, variant(*ids), CAUSES)
    pd.testing.assert_frame_equal(found, table, check_exact=True)


@pytest.mark.parametrize("end", ["0.25,\n", ",2\n", "nan,2\n", "word,2\n", "0.25\n", "0.25,2\na,x,0.25,3\n"])
def test_damaged_scores_are_said(end: str, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(f"id,given_label,loss,loss_rank\nb,x,0.5,1\na,x,{end}")
    write_manifest(tmp_path, CAUSES)
    with pytest.raises(InputError, match=r"damaged.*run `dvc repro evaluate@noisy`"):
        read_scores(tmp_path, VARIANT, CAUSES)


@pytest.mark.parametrize("count", ["", "word"])
def test_damaged_influence_is_said(count: str, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(f"id,sure_pairs\nx,2\ny,{count}\n")
    write_manifest(tmp_path, CAUSES)
    with pytest.raises(InputError, match=r"test.csv: is damaged \(column sure_pairs\)"):
        read_influenced(tmp_path, ["x", "y"], VARIANT, CAUSES)
