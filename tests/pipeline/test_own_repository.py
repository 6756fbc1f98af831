"""`memtrack init` in somebody's repository, which has a pipeline already: from there to the page."""

from __future__ import annotations

import shutil
from pathlib import Path

from project_clone import CODE, NO_MODEL, Project, write_images

STAGES = ("corrupt", "train", "suspects", "averaged", "halves", "evaluate", "duplicates", "quality",
          "report")  # fmt: skip
"""Those that run for every variant."""


def test_a_folder_of_a_repository_with_stages_of_its_own(tmp_path: Path, empty_store: Path) -> None:
    repository = Project(tmp_path)
    write_images(tmp_path / "photos", ("left", "right"), 16, seed=0)
    repository.run("git", "init", "-q", ".")
    repository.run("dvc", "init", "-q")
    theirs = "stages:\n  train:\n    cmd: echo theirs > model.txt\n    outs: [model.txt]\n"
    (tmp_path / "dvc.yaml").write_text(theirs)
    said = repository.run("python", "-m", "memtrack.cli.init", "photos", status=2)
    assert "has stages of its own with the names train: `memtrack init --folder memtrack`" in said
    repository.run("python", "-m", "memtrack.cli.init", "photos", "--folder", "audit")
    assert (tmp_path / "dvc.yaml").read_text() == theirs

    audit = Project(tmp_path / "audit")
    audit.environment[CODE] += NO_MODEL
    audit.edit("train.epochs", 2)
    audit.edit("record.epochs", {"kind": "every"})
    audit.edit("train.model", {"kind": "cnn", "width": 4, "depth": 1})
    audit.edit("suspects.variants", [])
    shutil.copy(empty_store, audit.folder / "mlflow.db")
    audit.commit()
    assert set(audit.ran(audit.run("dvc", "repro"))) == {"prepare", *(f"{name}@given" for name in STAGES)}
    for name in ("results/report/given/index.html", "results/evaluate/given/scores.csv", ".memtrack"):
        assert (audit.folder / name).exists()
    assert not [name for name in (".memtrack", "mlflow.db", "mlruns") if (tmp_path / name).exists()]
    assert audit.ran(audit.run("dvc", "repro")) == []
    assert "given" in audit.run("python", "-m", "memtrack.results")
    assert audit.run("git", "status", "--short", "--untracked-files=all").split() == ["??", "dvc.lock"]
