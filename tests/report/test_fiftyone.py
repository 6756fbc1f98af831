"""A data set that FiftyOne reads, without FiftyOne."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from suspected import CLASSES, IDS, PIXELS, suspects

from memtrack.report.fiftyone import write_dataset

FOLDER = Path("exported")


def imported() -> dict[str, tuple[str, dict[str, Any]]]:
    """For each image its path and label, as the importer in fiftyone/utils/data/importers.py finds them: the
    uuids in labels.json are paths in data/ or keys of data.json, without their extension."""
    labels = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))
    assert labels["classes"] == CLASSES
    if (FOLDER / "data").exists():
        paths = {os.path.splitext(path.name)[0]: str(path) for path in (FOLDER / "data").iterdir()}  # noqa: PTH122
    else:
        found = json.loads((FOLDER / "data.json").read_text(encoding="utf-8"))
        paths = {os.path.splitext(key)[0]: os.path.join(FOLDER, path) for key, path in found.items()}  # noqa: PTH118, PTH122
    return {paths[uuid]: label for uuid, label in labels["labels"].items()}


@pytest.mark.parametrize("learned", [True, False])
def test_images_in_arrays_are_written(learned: bool) -> None:
    write_dataset(suspects(learned=learned), FOLDER)
    found = imported()
    assert len(found) == 3
    for path, label in found.items():
        attributes = label["attributes"]  # type: ignore[call-overload]
        row = IDS.index(attributes["sample"])
        np.testing.assert_array_equal(np.asarray(Image.open(path)), PIXELS[row].transpose(1, 2, 0))
        assert ("mislabelled" in attributes) is learned
        assert ("suggested_label" in attributes) is (row != 0)


@pytest.mark.parametrize("files", [True, False])
def test_the_importer_of_fiftyone_takes_them(files: bool) -> None:
    reading = pytest.importorskip("fiftyone.utils.data.importers", reason="fiftyone is not installed")
    chosen = suspects()
    if files:
        chosen.files = [Path("photos") / sample for sample in IDS]
    write_dataset(chosen, FOLDER)
    where = {"data_path": "data.json"} if files else {}
    with reading.FiftyOneImageClassificationDatasetImporter(str(FOLDER.resolve()), **where) as importer:
        found = {Path(path).resolve(): label for path, _, label in importer}
    assert {path: (label.label, label.sample) for path, label in found.items()} == {
        Path(path).resolve(): (label["label"], label["attributes"]["sample"])  # type: ignore[call-overload]
        for path, label in imported().items()
    }


def test_image_files_stay_where_they_are() -> None:
    chosen = suspects()
    chosen.files = [Path("photos") / sample for sample in IDS]
    write_dataset(chosen, FOLDER)
    assert list(imported()) == [str(Path("photos").resolve() / IDS[row]) for row in (2, 0, 3)]
    assert not (FOLDER / "data").exists()
