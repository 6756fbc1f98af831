"""`memtrack results` for labels of which nobody knows which are wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest

from memtrack.cli import results
from memtrack.config import params
from memtrack.config.json_files import write_json
from memtrack.data.manifest import write_manifest
from memtrack.report.metrics import AveragedMetrics, EvaluateMetrics
from memtrack.report.sample_tables import write_csv
from memtrack.runs.metrics import TrainMetrics

MINIMAL = Path(__file__).parents[2] / "tests/config/files/valid/minimal.yaml"
FOLDER = Path("results/evaluate/clean")


def test_mlflow_is_named_as_it_can_be_started_here(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("params.yaml").write_text(MINIMAL.read_text())
    for folder, on_path, said in (
        (Path(".venv/bin"), False, ".venv/bin/mlflow ui"),
        (Path("a venv"), False, "'a venv/mlflow' ui"),
        (Path("../elsewhere"), False, "/elsewhere/mlflow ui"),
        (Path("../elsewhere"), True, "mlflow ui"),
    ):
        folder = Path(os.path.abspath(folder))  # noqa: PTH100
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mlflow").touch(mode=0o755)
        monkeypatch.setattr("sys.executable", str(folder / "python"))
        monkeypatch.setenv("PATH", str(folder) if on_path else "/nowhere")
        command = results.ui_command(params.load())
        assert said in command
        assert command.startswith("mlflow") == on_path


def test_the_most_suspect_samples_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(MINIMAL.read_text())
    FOLDER.mkdir(parents=True)
    empty = EvaluateMetrics(
        samples=30, corrupted=0, test_accuracy=0.5, scores={}, warnings=[], conflicts=None
    )  # fmt: skip
    write_json(empty, FOLDER / "metrics.json")
    rows = {"id": [f"[b]{number}.png" for number in range(30)], "given_label": ["cat"] * 30,
            "suggested_label": ["dog"] * 30, "kind": ["mislabelled"] * 30, "mislabelled": [1.23e-5] * 30,
            "suspicion": [-number / 7 for number in range(30)]}  # fmt: skip
    write_csv(pd.DataFrame(rows), FOLDER / "scores.csv")
    write_manifest(FOLDER, {}, {"scores.csv": FOLDER / "scores.csv"})
    Path("results/train/clean").mkdir(parents=True)
    trained = TrainMetrics(
        train_loss=0.1, train_accuracy=1.0, test_accuracy=0.5, mean_curvature=2.0, recorded_epochs=3,
        susceptibility=0.1236,
    )  # fmt: skip
    write_json(trained, Path("results/train/clean/metrics.json"))
    with pytest.raises(SystemExit) as ended:
        results.main([])
    said = capsys.readouterr().out
    assert "clean: susceptibility 0.1236\n" in said
    assert ended.value.code == 0
    assert "The most suspect samples of clean" in said
    assert "AUROC of the best" not in said
    shown = [re.findall(r"[^│\s]+", line) for line in said.splitlines() if "png" in line]
    assert shown == [[f"[b]{n}.png", "cat", "dog", "outvoted", "0.000", f"{-n / 7:.3f}"] for n in range(10)]
    table = (FOLDER / "scores.csv").read_text()
    for content in (table[: len(table) // 2], None):
        (FOLDER / "scores.csv").unlink()
        if content is not None:
            (FOLDER / "scores.csv").write_text(content)
        with pytest.raises(SystemExit) as ended:
            results.main([])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert "The most suspect samples of clean" not in said
        assert f"{FOLDER}/scores.csv: {'is not there' if content is None else 'is damaged or was'}" in said
        assert "run `dvc repro evaluate@clean`" in said
        (FOLDER / "scores.csv").touch()


def test_a_damaged_file_is_named_and_the_rest_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text(MINIMAL.read_text())
    empty = EvaluateMetrics(
        samples=30, corrupted=0, test_accuracy=0.5, scores={}, warnings=[], conflicts=None
    )  # fmt: skip
    averaged = AveragedMetrics(trainings=2, agreement=0.5, least_accuracy=0.25, largest_accuracy=0.75)
    paths = {Path(f"results/{stage}/clean/metrics.json"): found
             for stage, found in (("evaluate", empty), ("averaged", averaged))}  # fmt: skip
    for path, found in paths.items():
        path.parent.mkdir(parents=True)
        write_json(found, path)
    (FOLDER / "scores.csv").write_text("id\n")
    write_manifest(FOLDER, {}, {"scores.csv": FOLDER / "scores.csv"})

    def said(damaged: Path | None, status: int) -> str:
        if damaged is not None:
            damaged.write_text(damaged.read_text()[:-9])
        with pytest.raises(SystemExit) as ended:
            results.main([])
        if damaged is not None:
            write_json(paths[damaged], damaged)
        assert ended.value.code == status
        return capsys.readouterr().out

    whole = said(None, 0)
    assert averaged.in_words() in whole
    assert "is damaged" not in whole
    for path, shown in zip(paths, (averaged.in_words(), "test accuracy 0.500"), strict=True):
        found = said(path, int(path.parts[1] == "evaluate"))
        assert shown in found
        assert (
            f"{path}: is damaged, or of another version of memtrack: run `dvc repro {path.parts[1]}@clean`"
            in found
        )
        assert "not evaluated yet" not in found
