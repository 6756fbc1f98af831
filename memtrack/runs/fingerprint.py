"""What shapes a training and a recording: two that agree may share their results, others never."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memtrack.config.json_files import StrictModel, write_json
from memtrack.config.params import Params
from memtrack.core.files import file_hash
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.code import code_hash


class Fingerprint(StrictModel):
    """The causes of a result, by name. Written beside the result as a JSON file."""

    causes: dict[str, Any]

    @property
    def key(self) -> str:
        """A short name for it."""
        return hashlib.sha256(json.dumps(self.causes, sort_keys=True).encode()).hexdigest()[:12]

    def matches(self, path: Path) -> bool:
        """Whether `path` holds this fingerprint; a missing file does not, nor a broken one, which is
        said."""
        return _causes(path) == self.causes

    def differing(self, path: Path) -> set[str]:
        """The names of the causes that the fingerprint in `path` does not share."""
        causes = _causes(path) or {}
        shared = {name for name in causes.keys() & self.causes.keys() if causes[name] == self.causes[name]}
        return {*causes, *self.causes} - shared

    def write(self, path: Path) -> None:
        """Write it to `path`."""
        write_json(self, path)


def training_fingerprint(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device
) -> Fingerprint:
    """All that shapes the network after every epoch: data, labels, recipe, seeds, device and code."""
    return Fingerprint(
        causes={
            **data_causes(data, variant),
            "train": params.train.model_dump(mode="json", exclude={"workers", "device"}),
            "device": device.type,
            "packages": package_versions(),
            "code": code_hash("memtrack.runs.fitting"),
        }
    )


def recording_fingerprint(params: Params, training: Fingerprint) -> Fingerprint:
    """All that shapes the recorded numbers of an epoch: the training, and how it is measured.

    Which epochs are recorded is not part of it: an epoch is recorded in the same way whatever other epochs
    are recorded."""
    return Fingerprint(
        causes={
            "training": training.key,
            "curvature": params.curvature.model_dump(mode="json"),
            "precision": params.record.precision,
            "compile": params.record.compile,
            "code": code_hash("memtrack.runs.recording"),
        }
    )


def data_causes(data: PreparedData, variant: VariantData) -> dict[str, Any]:
    """The images and the labels."""
    return {
        "data": {path.name: file_hash(path) for path in sorted(data.folder.iterdir())},
        "labels": file_hash(variant.table),
        "pixels": None if variant.pixels is None else [variant.pixels.how, variant.pixels.seed],
    }


def package_versions() -> list[str]:
    """Of the libraries that shape the numbers of a network."""
    return [torch.__version__, version("torchvision"), np.__version__]  # imported, it takes two seconds


def _causes(path: Path) -> dict[str, Any] | None:
    """What `path` holds; None where it is not there, or damaged, which is said."""
    if not path.exists():
        return None
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))["causes"]}
    except (OSError, ValueError, KeyError, TypeError):
        print(f"{path}: is damaged: what it belongs to is made again")
        return None
