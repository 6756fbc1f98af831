"""run.json: the MLflow run of a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrack.config.errors import InputError
from memtrack.config.json_files import write_json
from memtrack.tracking.reference import RunReference, read_reference

FOLDER = Path("results")


@pytest.mark.parametrize("content", [None, "", '{"key": "a"', '{"key": "a"}', "[1]"])
def test_one_that_is_missing_or_damaged_names_the_remedy(content: str | None) -> None:
    FOLDER.mkdir()
    reference = RunReference(key="a", tracking_uri="http://host", experiment="b", variant="c")
    write_json(reference, FOLDER / "run.json")
    assert read_reference(FOLDER, "run `dvc repro train@c`") == reference
    (FOLDER / "run.json").unlink()
    if content is not None:
        (FOLDER / "run.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_reference(FOLDER, "run `dvc repro train@c`")
    assert str(caught.value) == "results/run.json: is missing or damaged: run `dvc repro train@c`"
