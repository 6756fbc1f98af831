"""What a training and a recording depend on. Only runs with equal fingerprints share their results."""

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
    """Everything that a result depends on, by name. Stored beside the result as a JSON file."""

    causes: dict[str, Any]

    @property
    def key(self) -> str:
        """A short name: the first 12 digits of a hash."""
        return hashlib.sha256(json.dumps(self.causes, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def stored(cls, path: Path) -> Fingerprint | None:
        """The fingerprint in `path`; None if the file is missing, or damaged, which is reported."""
        if not path.exists():
            return None
        try:
            return cls(causes={**json.loads(path.read_text(encoding="utf-8"))["causes"]})
        except (OSError, ValueError, KeyError, TypeError):
            print(f"{path}: is damaged: the results that it belongs to are computed again")
            return None

    def matches(self, path: Path) -> bool:
        """Whether `path` holds this fingerprint."""
        stored = self.stored(path)
        return stored is not None and stored.causes == self.causes

    def differing(self, other: Fingerprint) -> set[str]:
        """The names of the causes that the two do not share."""
        ours, theirs = self.causes, other.causes
        shared = {name for name in ours.keys() & theirs.keys() if ours[name] == theirs[name]}
        return {*ours, *theirs} - shared

    def write(self, path: Path) -> None:
        """Write it to `path`."""
        write_json(self, path)


def training_fingerprint(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device
) -> Fingerprint:
    """What the network after each epoch depends on: data, labels, recipe, seeds, device and code."""
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
    """What the recorded numbers of an epoch depend on: the training, and how it is measured.

    The set of recorded epochs is not part of it: which other epochs are recorded does not affect an epoch."""
    return Fingerprint(
        causes={
            "training": training.key,
            "curvature": params.curvature.model_dump(mode="json"),
            "record": params.record.model_dump(mode="json", exclude={"epochs", "batch_size", "checkpoints"}),
            "code": code_hash("memtrack.runs.recording"),
        }
    )


def data_causes(data: PreparedData, variant: VariantData) -> dict[str, Any]:
    """What identifies the images and the labels."""
    return {
        "data": {path.name: file_hash(path) for path in sorted(data.folder.iterdir())},
        "labels": file_hash(variant.table),
        "pixels": None if variant.pixels is None else [variant.pixels.how, variant.pixels.seed],
    }


def package_versions() -> list[str]:
    """The versions of the libraries that affect the numbers of a network."""
    return [
        torch.__version__,
        version("torchvision"),
        np.__version__,
    ]  # importing torchvision takes two seconds
