"""`memtrack init` in somebody's repository: from there to the page, and to mended labels.

The commands, the sections of params.yaml and the decisions are those of the documentation."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pages import Block, blocks, indented, run_shell
from project_clone import CODE, NO_MODEL, Project, write_images

(QUICKSTART,) = blocks("docs/quickstart.md")
ADDED, BESIDE = indented("docs/your_repository.md")
DECISIONS, CLEANING, *_ = indented("docs/cleaning.md")
STAGES = ("corrupt", "train", "suspects", "averaged", "halves", "evaluate", "duplicates", "quality",
          "report")  # fmt: skip
"""Those that run for every variant."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """32 images and the table of their labels; among them those that docs/cleaning.md decides on."""
    folder = tmp_path / "photos"
    write_images(folder, ("cat", "dog"), 16, seed=0)
    decided = {row["id"]: row["given_label"] for row in csv.DictReader(DECISIONS.text.splitlines())}
    (folder / "train").mkdir()
    rows = []
    for label in ("cat", "dog"):
        names = [name for name, given in decided.items() if given == label]
        for number, path in enumerate(sorted((folder / label).iterdir())):
            name = names[number] if number < len(names) else f"train/{label}{number}.png"
            rows.append(f"{path.rename(folder / name).relative_to(folder)},{label}\n")
        (folder / label).rmdir()
    (folder / "labels.csv").write_text("path,label\n" + "".join(rows))
    return folder


def begin(block: Block, repository: Project, inside: str, **other: str) -> tuple[Project, Block]:
    """Run a block up to `memtrack init`; the project `inside` the repository, made small, and the rest."""
    lines = block.text.splitlines()
    end = 1 + next(number for number, line in enumerate(lines) if line.startswith("memtrack init"))
    run_shell(repository, replace(block, text="\n".join(lines[:end])), **other)
    project = Project(repository.folder / inside)
    project.environment[CODE] += NO_MODEL
    project.edit("train.epochs", 2)
    project.edit("record.epochs", {"kind": "every"})
    project.edit("train.model", {"kind": "cnn", "width": 4, "depth": 1})
    return project, replace(block, text="\n".join(lines[end:]))


def test_an_empty_repository(tmp_path: Path, photos: Path, empty_store: Path) -> None:
    project, rest = begin(QUICKSTART, Project(tmp_path), "suspects", __photos=str(photos))
    shutil.copy(empty_store, project.folder / "mlflow.db")
    *_, checked, reproduced, table = run_shell(project, rest)
    assert checked == "params.yaml: ok\n"
    assert set(project.ran(reproduced)) == {"prepare", *(f"{name}@given" for name in STAGES)}
    for name in ("results/report/given/index.html", "results/evaluate/given/scores.csv", ".memtrack"):
        assert (project.folder / name).exists()
    assert "The most suspect samples of given" in table
    shown = project.run("dvc", "plots", "show", "--out", ".memtrack/plots")
    assert "failed to load" not in shown
    assert "training on given" in (project.folder / ".memtrack/plots/index.html").read_text()
    assert project.run("git", "status", "--short", "--untracked-files=all").split() == ["??", "dvc.lock"]

    said = yaml.safe_load(CLEANING.text)
    project.edit("clean", said["clean"])
    project.edit("variants", project.params("variants") | said["variants"])
    decisions = project.folder / said["clean"]["variants"]["clean"]["decisions"]
    decisions.parent.mkdir()
    decisions.write_text(DECISIONS.text)
    ran = project.ran(project.run("dvc", "repro", "evaluate@mended"))
    assert {"clean@clean", "train@mended", "evaluate@mended"} <= set(ran)
    assert not [name for name in ran if name.endswith("@given")]
    mended = {row["id"]: row["label"] for row in csv.DictReader(
        (project.folder / "results/clean/clean/labels.csv").read_text().splitlines())}  # fmt: skip
    rows = [row for row in csv.DictReader(DECISIONS.text.splitlines()) if row["id"] in mended]
    assert len(rows) >= 3  # a fifth is held out for testing
    for row in rows:
        new = {"relabel": row["label"], "remove": "(removed)"}.get(row["decision"], row["given_label"])
        assert mended[row["id"]] == new


def test_a_repository_with_stages_of_its_own(tmp_path: Path, photos: Path, empty_store: Path) -> None:
    repository = Project(tmp_path)
    repository.run("git", "init", "-q", ".")
    repository.run("dvc", "init", "-q")
    theirs = "stages:\n  featurize:\n    cmd: echo theirs > model.txt\n    outs: [model.txt]\n"
    (tmp_path / "dvc.yaml").write_text(theirs)
    project, rest = begin(ADDED, repository, "", my_repository=".", _data_photos=str(photos))
    project.leave("featurize", "code", "prepare")
    assert set(project.ran(run_shell(project, rest)[-1])) == {"featurize", "prepare"}

    said = repository.run("python", "-m", "memtrack.cli.init", str(photos), status=2)
    assert "params.yaml: is there already, and stays as it is: `memtrack init --folder memtrack` uses" in said
    before = (tmp_path / "dvc.yaml").read_text()
    audit, rest = begin(BESIDE, repository, "audit", _data_photos=str(photos))
    audit.leave("code", "prepare", "corrupt", "train")
    shutil.copy(empty_store, audit.folder / "mlflow.db")
    assert audit.ran(run_shell(repository, rest)[-1]) == ["prepare", "corrupt@given", "train@given"]
    assert (tmp_path / "dvc.yaml").read_text() == before
    assert (audit.folder / "results/train/given/trajectory").exists()
    assert not [name for name in ("mlflow.db", "results/train") if (tmp_path / name).exists()]
