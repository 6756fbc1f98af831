"""Tables of stages, read back by others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memtrack.io.problems import InputError
from memtrack.io.score_table import read_influenced, read_memorization

VARIANT: Any = SimpleNamespace(ids=["a", "b"], name="noisy")


def test_in_the_order_of_the_samples(tmp_path: Path) -> None:
    (tmp_path / "memorization.csv").write_text("id,memorization\nb,0.5\na,\n")
    (tmp_path / "test.csv").write_text("id,sure_pairs\nx,2\ny,0\n")
    np.testing.assert_array_equal(read_memorization(tmp_path, VARIANT), [np.nan, 0.5])
    assert read_influenced(tmp_path, ["y", "x"], "noisy").tolist() == [False, True]


@pytest.mark.parametrize("content", ["b,0.5\na,word\n", "b,0.5\na,0.", "b,0.5\n", "b,0.5\nc,0.5\n", ""])
def test_a_damaged_table_is_said(content: str, tmp_path: Path) -> None:
    (tmp_path / "memorization.csv").write_text(f"id,memorization\n{content}" if content else "")
    with pytest.raises(InputError, match="run `dvc repro memorization@noisy`"):
        read_memorization(tmp_path, VARIANT)
