"""Every stage of dvc.yaml depends on the code that shapes its results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from memtrack.runs.code import PACKAGE, closure, stage_hash
from memtrack.stages import code

REPOSITORY = Path(__file__).parents[2]
HASHES = "results/code/hashes.json"


def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml by name, templates as they are."""
    content = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder."""
    monkeypatch.chdir(tmp_path)


def module(command: str) -> str:
    found = re.match(r"python -m memtrack\.stages\.(\w+)", command)
    assert found is not None, command
    return found[1]


@pytest.mark.usefixtures("elsewhere")
def test_every_stage_depends_on_the_hash_of_its_own_code() -> None:
    shutil.copy(PACKAGE.parent / "params.yaml", "params.yaml")
    with pytest.raises(SystemExit) as ended:
        code.main()
    assert ended.value.code == 0
    hashes = json.loads(Path(HASHES).read_text())["code"]
    for name, stage in stages().items():
        if name != "code":
            watched = next(entry[HASHES] for entry in stage["params"] if HASHES in entry)
            assert f"code.{module(stage['cmd'])}" in watched, name
            assert hashes[module(stage["cmd"])] == stage_hash(module(stage["cmd"]))
    assert len(set(hashes.values())) == len(hashes)


def test_no_stage_depends_on_files_of_a_clone() -> None:
    assert not [text for stage in stages().values() for text in stage.get("deps", ()) if "memtrack/" in text]


def test_a_new_score_shapes_the_results_of_those_alone_who_read_scores() -> None:
    names = {module(stage["cmd"]) for stage in stages().values()}
    scores = PACKAGE / "core/scores/from_trajectory.py"
    readers = {name for name in names if scores in closure(f"memtrack.stages.{name}")}
    assert readers == {"suspects", "averaged", "evaluate", "quality", "report", "agreement"}


def test_every_stage_is_a_module_of_its_own_name() -> None:
    modules = {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert modules <= set(stages())
    assert {module(stage["cmd"]) for stage in stages().values()} == modules


EVERY_KEY = Path(__file__).parents[1] / "config/files/valid/every_key.yaml"


@pytest.mark.parametrize(
    ("line", "other", "section"),
    [
        ("trainings: [{seed: 1},", "trainings: [{seed: 3},", "averaged"),
        ("turn_over: true", "turn_over: false", "halves"),
        ("report: {samples: 500", "report: {samples: 501", "report"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("elsewhere")
def test_a_section_that_may_be_left_out_is_watched_whole(line: str, other: str, section: str) -> None:
    """A list of trainings, and a switch that is off, are things that DVC cannot put into a command."""
    found = []
    text = EVERY_KEY.read_text(encoding="utf-8")
    assert line in text
    for content in (text, text.replace(line, other)):
        Path("params.yaml").write_text(content, encoding="utf-8")
        with pytest.raises(SystemExit):
            code.main()
        found.append(json.loads(Path(HASHES).read_text())["sections"])
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {section}


@pytest.mark.usefixtures("elsewhere")
def test_dvc_reads_the_pipeline_with_every_key_in_use() -> None:
    shutil.copy(PACKAGE / "project/pipeline.yaml", "dvc.yaml")
    shutil.copy(EVERY_KEY, "params.yaml")
    with Repo.init(no_scm=True) as repo:
        names = {stage.addressing for stage in repo.index.stages}
    assert {"averaged@noisy", "suspects@noisy", "evaluate@noisy"} <= names
