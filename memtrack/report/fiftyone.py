"""Suspects as a data set of FiftyOne, written without FiftyOne and its database.

The folder is a FiftyOneImageClassificationDataset: labels.json has the given label of each sample, with the
rest as attributes, and data.json or the folder data/ has the images.

Source: the importer in fiftyone 1.22, fiftyone/utils/data/importers.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from memtrack.core.files import whole_file
from memtrack.data.decoding import as_picture
from memtrack.report.exported import Suspect, Suspects

CHUNK = 512


def write_dataset(suspects: Suspects, folder: Path) -> None:
    """Write the suspects, (N,), to `folder`. Images in files stay where they are: data.json names them, and
    the importer needs it as `data_path`."""
    chosen = list(suspects)
    labels = {f"{suspect.rank:08d}": _label(suspect) for suspect in chosen}
    folder.mkdir(parents=True, exist_ok=True)
    if suspects.files is None:
        (folder / "data").mkdir(exist_ok=True)
        for start in range(0, len(chosen), CHUNK):
            part = chosen[start : start + CHUNK]
            for suspect, image in zip(part, suspects.variant.read([one.row for one in part]), strict=True):
                as_picture(image).save(folder / "data" / f"{suspect.rank:08d}.png")
    else:
        paths = {f"{one.rank:08d}": str(suspects.files[one.row].resolve()) for one in chosen}
        _write(paths, folder / "data.json")
    _write({"classes": suspects.variant.summary.classes, "labels": labels}, folder / "labels.json")


def _label(suspect: Suspect) -> dict[str, Any]:
    attributes = {
        "sample": suspect.id,
        "rank": suspect.rank,
        "suspicion": suspect.suspicion,
        "suggested_label": suspect.suggested,
        "kind": suspect.kind,
        "mislabelled": suspect.mislabelled,
        "suggested_probability": suspect.chance,
    }
    known = {name: value for name, value in attributes.items() if value not in (None, "")}
    return {"label": suspect.given, "attributes": known}


def _write(content: dict[str, Any], path: Path) -> None:
    with whole_file(path) as file:
        file.write(json.dumps(content, ensure_ascii=False).encode())
