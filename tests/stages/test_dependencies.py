"""Every stage of dvc.yaml depends on the code that shapes its results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from memtrack.runs.code import PACKAGE, closure, stage_hash
from memtrack.stages import code

REPOSITORY = Path(__file__).parents[2]
HASHES = "results/code/hashes.json"


def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml by name, templates as they are."""
    content = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


def module(command: str) -> str:
    found = re.match(r"python -m memtrack\.stages\.(\w+)", command)
    assert found is not None, command
    return found[1]


def test_every_stage_depends_on_the_hash_of_its_own_code() -> None:
    with pytest.raises(SystemExit) as ended:
        code.main()
    assert ended.value.code == 0
    hashes = json.loads(Path(HASHES).read_text())["code"]
    for name, stage in stages().items():
        if name != "code":
            assert {HASHES: [f"code.{module(stage['cmd'])}"]} in stage["params"], name
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
