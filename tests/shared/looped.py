"""Runs the examples of recorded training loops."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    epochs: int = 4,
    samples: int = 400,
) -> dict[str, float]:
    """Run an example with few samples; the AUROCs that it prints, by score."""
    arguments = ["--epochs", str(epochs), "--samples", str(samples), "--folder", str(folder / "recorded")]
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.syspath_prepend(EXAMPLES)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert f"memtrack evaluate {folder}/recorded --corrupted {folder}/recorded_wrong.csv" in printed
    return {name: float(value) for name, value in re.findall(r"(\w+): AUROC ([\d.]+)", printed)}
