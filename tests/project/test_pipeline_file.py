"""dvc.yaml of a project: memtrack's own, alone and among other stages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from memtrack.config.errors import InputError
from memtrack.project.pipeline_file import OURS, TEMPLATES, pipeline_text

REPOSITORY = Path(__file__).parents[2]
PATH = Path("dvc.yaml")
OTHERS = """\
# mine
stages:
  featurize: # quick
    cmd: echo 1 > f.txt
    outs: [f.txt]
metrics:
  - m.json
"""


def test_that_of_this_repository_is_the_one_that_is_written() -> None:
    assert (REPOSITORY / "dvc.yaml").read_text() == OURS.read_text() == pipeline_text(None, PATH)
    for template in TEMPLATES:
        assert (REPOSITORY / ".dvc/plots" / template.name).read_text() == template.read_text()
    named = set(re.findall(r"template: (\w+)", OURS.read_text()))
    assert named == {template.stem for template in TEMPLATES}


def test_other_stages_stay_and_nothing_changes_the_second_time() -> None:
    merged = pipeline_text(OTHERS, PATH)
    assert merged.startswith("# mine\nstages:\n  featurize: # quick\n")
    ours, others, both = (yaml.safe_load(text) for text in (OURS.read_text(), OTHERS, merged))
    assert both == {"stages": others["stages"] | ours["stages"], "metrics": ["m.json"], "vars": ours["vars"]}
    assert pipeline_text(merged, PATH) == merged


@pytest.mark.parametrize("around", ["", OTHERS])
def test_stages_of_another_version_are_replaced(around: str) -> None:
    now = pipeline_text(around or None, PATH)
    older = now.replace("desc: bring the data", "desc: take the data") + (
        "" if around else "  gone:\n    cmd: python -m memtrack.stages.gone\n"
    )
    assert older != now
    assert pipeline_text(older, PATH) == now


def test_another_stage_of_the_same_name_is_not_replaced() -> None:
    with pytest.raises(InputError, match=r"dvc\.yaml: has stages of its own with the names train: "):
        pipeline_text("stages:\n  train:\n    cmd: python train.py\n", PATH)
