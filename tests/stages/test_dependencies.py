"""Every stage of dvc.yaml depends on the code that shapes its results, and on no other rooms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from memtrack.runs.code import PACKAGE, closure

REPOSITORY = Path(__file__).parents[2]


def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml by name, templates as they are."""
    content = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in content.items()}


def module(command: str) -> str:
    found = re.match(r"python -m (memtrack\.stages\.\w+)", command)
    assert found is not None, command
    return found[1]


def code_dependencies(stage: dict[str, Any]) -> list[str]:
    return [text for text in stage["deps"] if text.startswith("memtrack/")]


@pytest.mark.parametrize("name", list(stages()))
class TestStage:
    def test_every_file_that_shapes_its_results_is_a_dependency(self, name: str) -> None:
        stage = stages()[name]
        rooms = [REPOSITORY / text for text in code_dependencies(stage)]
        uncovered = [
            path.relative_to(REPOSITORY).as_posix()
            for path in closure(module(stage["cmd"]))
            if not any(path == room or room in path.parents for room in rooms)
        ]
        assert not uncovered, f"dvc.yaml: stage {name} should also depend on (the rooms of) {uncovered}"

    def test_it_depends_on_no_room_that_it_does_not_use(self, name: str) -> None:
        stage = stages()[name]
        files = closure(module(stage["cmd"]))
        unused = [
            text
            for text in code_dependencies(stage)
            if not any(path == REPOSITORY / text or REPOSITORY / text in path.parents for path in files)
        ]
        assert not unused, f"dvc.yaml: stage {name} does not use {unused}"

    def test_it_depends_on_its_own_module(self, name: str) -> None:
        stage = stages()[name]
        own = module(stage["cmd"]).replace(".", "/") + ".py"
        assert own in code_dependencies(stage)


def test_a_new_score_is_a_dependency_of_those_alone_who_read_scores() -> None:
    readers = {name for name, stage in stages().items() if "memtrack/core/scores" in stage["deps"]}
    assert readers == {"suspects", "evaluate", "evaluate_repeat", "report", "agreement", "published"}


def test_every_stage_is_a_module_of_its_own_name() -> None:
    modules = {path.stem for path in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert modules <= set(stages())
    assert {module(stage["cmd"]).rpartition(".")[2] for stage in stages().values()} == modules
