"""What dvc.yaml reads of params.yaml, and which files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from memtrack.config.params import load
from memtrack.config.pipeline import pipeline_problems
from memtrack.config.yaml_file import read_yaml

REPOSITORY = Path(__file__).parents[2]
SECTIONS = ("evaluate", "duplicates", "repeat", "memorization", "utility")


def problems(content: dict[str, Any], stages: dict[str, Any], **more: Any) -> list[str]:
    """The problems of params.yaml with that content and dvc.yaml with those stages."""
    Path("params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages, **more}), encoding="utf-8")
    return list(map(str, pipeline_problems(read_yaml(Path("params.yaml")), files=True)))


def keys(found: list[str]) -> list[str]:
    return [line.split(": ")[1] for line in found]


def test_every_kind_of_reading_a_key() -> None:
    stages = {
        "a": {"cmd": "run ${evaluate.scores} \\${not.this}", "params": ["duplicates", {"other.yaml": ["x"]}]},
        "b": {"foreach": "${repeat.seeds}", "do": {"cmd": "run ${item}"}},
        "c": {
            "foreach": "${variants}",
            "do": {"cmd": "${key} ${item.rate}", "params": ["variants.${key}.seed"]},
        },
        "d": {"matrix": {"v": "${variants}", "w": "${utility.variants}"}, "cmd": "${item.v} ${item.w.x}"},
        "e": {"cmd": "${train.layers[1]}", "params": [{"params.yaml": ["compute"]}]},
    }
    content = {"variants": {"one": {"rate": 1, "seed": 1}, "two": {}}, "train": {"layers": [1]}}
    expected = ["evaluate.scores", "duplicates", "repeat.seeds", "variants.two.rate", "variants.two.seed",
                "utility.variants", "train.layers.1", "compute"]  # fmt: skip
    assert keys(problems(content, stages)) == expected
    content["variants"]["two"] = {"rate": 1, "seed": 1}
    content |= {"evaluate": {"scores": 1}, "duplicates": {}, "repeat": {"seeds": []}, "compute": None}
    content |= {"utility": {"variants": [{"x": 1}]}, "train": {"layers": [1, 2]}}
    assert problems(content, stages) == []


def test_names_that_dvc_yaml_defines_itself_are_not_missing() -> None:
    assert problems({}, {"a": {"cmd": "${own.x}"}}, vars=[{"own": {"x": 1}}]) == []


def test_names_of_other_files_and_of_a_matrix_are_not_missing() -> None:
    """Files under `vars`, and what DVC itself defines in a matrix."""
    assert problems({}, {"a": {"cmd": "${threshold}", "vars": ["b.yaml"]}}, vars=["mine.yaml"]) == []
    assert problems({}, {"grid": {"matrix": {"v": ["x"]}, "cmd": "run ${key} ${item.v}"}}) == []


@pytest.mark.parametrize("stage", [None, {"cmd": "run ${}"}, {"cmd": 1, "deps": 3}, []])
def test_a_pipeline_that_dvc_refuses_is_left_to_dvc(stage: Any) -> None:
    assert problems({}, {"a": stage}) == []


def test_the_advice_is_a_line_that_can_be_added() -> None:
    content: dict[str, Any] = {"memorization": {"models": 3}}
    dvc = yaml.safe_load((REPOSITORY / "dvc.yaml").read_bytes())["stages"]
    found = problems(
        content, {name: dvc[name] for name in ("memorization", "utility", "duplicates", "repeat")}
    )
    advice = dict(zip(keys(found), (line.rpartition("add ")[2] for line in found), strict=True))
    assert advice["memorization.variants"] == "`variants: []`"
    assert advice["repeat.seeds"] == "`repeat: {seeds: []}`"
    assert advice["utility.variants"] == "`utility: {variants: []}`"


def test_the_examples_of_the_documentation_have_every_key() -> None:
    pipeline = yaml.safe_load((REPOSITORY / "dvc.yaml").read_bytes())
    for path in (REPOSITORY / "docs/examples").glob("*.yaml"):
        content = yaml.safe_load(path.read_bytes())
        Path("params.yaml").write_bytes(path.read_bytes())
        load()
        content["data"]["root"] = "."
        assert problems(content, **pipeline) == []


def test_defaults_in_the_pipeline_need_not_be_in_the_parameters() -> None:
    """They are merged, as DVC does it."""
    stages = {
        "a": {"foreach": "${clean.variants}", "do": {"deps": ["${item.decisions}"], "cmd": "x ${clean}"}}
    }
    pipeline = {"stages": stages, "vars": [{"clean": {"variants": {}}}]}
    assert problems({}, **pipeline) == []
    assert problems({"clean": {"other": 1}}, **pipeline) == []
    found = problems({"clean": {"variants": {"a": {"decisions": "mine.csv"}}}}, **pipeline)
    assert found == ["params.yaml:4: clean.variants.a.decisions: mine.csv: no such file or folder"]


def test_files_that_no_stage_makes_must_be_there() -> None:
    stages = {
        "a": {
            "foreach": "${sources}",
            "do": {"deps": ["${item}", "code"], "outs": ["made/${key}"], "cmd": "x"},
        },
    }
    content = {"sources": {"one": "photos", "two": "made/one", "three": "big/part"}}
    assert keys(problems(content, stages)) == ["sources.one", "sources.three"]
    assert problems(content, stages)[0].startswith(
        "params.yaml:2: sources.one: photos: no such file or folder"
    )
    Path("photos").mkdir()
    Path("big.dvc").touch()  # `dvc pull` gets it
    assert problems(content, stages) == []


@pytest.mark.parametrize("left_out", SECTIONS)
def test_every_section_that_the_stages_of_this_project_read(left_out: str) -> None:
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_bytes())
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_bytes())["stages"]
    Path("data/raw").mkdir(parents=True)
    assert problems(content, stages) == []
    del content[left_out]
    found = keys(problems(content, stages))
    assert found
    assert {key.partition(".")[0] for key in found} == {left_out}
