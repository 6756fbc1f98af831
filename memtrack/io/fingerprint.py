"""What shapes a training and a recording: two that agree may share their results, others never."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from memtrack.core import curvature, ensemble, measuring, models, pixels, precision, recorder, training
from memtrack.core.files import file_hash
from memtrack.io import dataset, images, loading, networks, task, task_inputs
from memtrack.io.dataset import PreparedData
from memtrack.io.params import Params, RecipeParams, Section
from memtrack.io.validation import write_record
from memtrack.io.variants import VariantData

STAGES = Path(__file__).parents[1] / "stages"


class Fingerprint(Section):
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
        write_record(self, path)


def training_fingerprint(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device
) -> Fingerprint:
    """All that shapes the network after every epoch: data, labels, recipe, seeds, device and code."""
    return Fingerprint(
        causes={
            **data_causes(data, variant),
            "train": params.train.model_dump(mode="json", exclude={"workers", "device"}),
            "device": device.type,
            "packages": _packages(),
            "code": code_hash(
                [models, training, loading, dataset, images, networks, pixels, STAGES / "train.py"]
            ),
        }
    )


def recording_fingerprint(params: Params) -> Fingerprint:
    """All that shapes an epoch's record, given the network. Which epochs are recorded is not part of
    it: a record is the same whatever other epochs are recorded."""
    return Fingerprint(
        causes={
            "curvature": params.curvature.model_dump(mode="json"),
            "precision": params.record.precision,
            "compile": params.record.compile,
            "code": code_hash([curvature, measuring, precision, recorder]),
        }
    )


def ensemble_fingerprint(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device, **more: Any
) -> Fingerprint:
    """All that shapes the networks that memorization is estimated with, and their subsets (`more`)."""
    return Fingerprint(
        causes={
            **data_causes(data, variant),
            "recipe": params.recipe.model_dump(mode="json", include=set(RecipeParams.model_fields)),
            "seed": params.memorization.seed,
            "precision": params.memorization.precision,
            "device": device.type,
            "packages": _packages(),
            "code": code_hash([ensemble, models, training, dataset, images, pixels, task, task_inputs]),
            **more,
        }
    )


def data_causes(data: PreparedData, variant: VariantData) -> dict[str, Any]:
    """The images and the labels."""
    return {
        "data": {path.name: file_hash(path) for path in sorted(data.folder.iterdir())},
        "labels": file_hash(variant.table),
        "pixels": None if variant.pixels is None else [variant.pixels.how, variant.pixels.seed],
    }


def _packages() -> list[str]:
    return [torch.__version__, version("torchvision"), np.__version__]  # imported, it takes two seconds


def code_hash(modules: Iterable[ModuleType | Path]) -> str:
    """A hash of what modules, or files of code, do: comments, docstrings and layout do not count."""
    content = hashlib.sha256()
    for module in modules:
        path = module if isinstance(module, Path) else Path(str(module.__file__))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(getattr(node, "body", None), list):
                node.body = [  # type: ignore[attr-defined]
                    step
                    for step in node.body  # type: ignore[attr-defined]
                    if not (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
                ]
        content.update(ast.dump(tree).encode())
    return content.hexdigest()


def _causes(path: Path) -> dict[str, Any] | None:
    """What `path` holds; None where it is not there, or damaged, which is said."""
    if not path.exists():
        return None
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))["causes"]}
    except (OSError, ValueError, KeyError, TypeError):
        print(f"{path}: is damaged: what it belongs to is made again")
        return None
