"""What a training and a recording depend on. Only runs with equal fingerprints share their results."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memtrack.config.errors import InputError
from memtrack.config.json_files import StrictModel
from memtrack.config.params import Params
from memtrack.config.paths import VARIANTS_FOLDER
from memtrack.config.sections.train import ModelParams
from memtrack.data.manifest import MANIFEST, KeptFolder, check_unchanged
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.causes import halves_causes, recording_causes, training_causes
from memtrack.runs.code import code_hash
from memtrack.runs.networks import chosen_precision
from memtrack.runs.own_code import own_code, own_packages
from memtrack.runs.pretrained import check_name, weights_cause


class Fingerprint(StrictModel):
    """Everything that a result depends on, by name. Stored with the result, in the manifest of its folder."""

    causes: dict[str, Any]

    @property
    def key(self) -> str:
        """A short name: the first 12 digits of a hash."""
        return hashlib.sha256(json.dumps(self.causes, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def of_folder(cls, folder: Path) -> Fingerprint | None:
        """The fingerprint of the results in `folder`; None if it has none, or damage, which is said."""
        if not (folder / MANIFEST).exists():
            return None
        try:
            return cls(
                causes=KeptFolder(folder, "the results that it belongs to are computed again").made_from
            )
        except InputError as error:
            print(error)
            return None

    def matches(self, folder: Path) -> bool:
        """Whether the results in `folder` have this fingerprint."""
        stored = self.of_folder(folder)
        return stored is not None and stored.causes == self.causes

    def differing(self, other: Fingerprint) -> set[str]:
        """The names of the causes that the two do not share."""
        ours, theirs = self.causes, other.causes
        shared = {name for name in ours.keys() & theirs.keys() if ours[name] == theirs[name]}
        return {*ours, *theirs} - shared


def check_labels(params: Params, variant: VariantData) -> None:
    """`InputError` if the labels were made with other parameters than those in force."""
    folder, remedy = VARIANTS_FOLDER / variant.name, f"run `dvc repro train@{variant.name}`"
    check_unchanged(params.variants[variant.name], variant.summary.made_from, folder, remedy)


def training_fingerprint(
    params: Params,
    data: PreparedData,
    variant: VariantData,
    device: torch.device,
    stored: Path | None = None,
) -> Fingerprint:
    """What the network after each epoch depends on: data, labels, recipe, seeds, device and code.

    Args:
        stored: the folder of checkpoints that were trained before. If the weights to start from are not here
            any more, they are taken to be those of this training, which is said.

    Raises:
        InputError: if the images are not those that were prepared, the labels were made with other
            parameters, or the weights to start from cannot be found.
    """
    data.kept.check_all()
    check_labels(params, variant)
    causes = training_causes(params, variant)
    try:
        weights = weights_cause(params.train.model)
    except InputError as error:
        before = None if stored is None else Fingerprint.of_folder(stored)
        if before is None or "weights" not in before.causes or before.causes["train"] != causes["train"]:
            raise
        print(f"{error}\nThese weights are taken to be those that {variant.name} was trained from before.")
        weights = {"weights": before.causes["weights"]}
    return Fingerprint(
        causes={
            **causes,
            **weights,
            "device": device.type,
            "precision": chosen_precision(params.train, device),
            "packages": package_versions(params.train.model),
            "code": code_hash("memtrack.runs.fitting"),
        }
    )


def recording_fingerprint(params: Params, training: Fingerprint) -> Fingerprint:
    """What the recorded numbers of an epoch depend on: the training, and how it is measured.

    The set of recorded epochs is not part of it: which other epochs are recorded does not affect an epoch."""
    return Fingerprint(
        causes={
            "training": training.causes,
            **recording_causes(params),
            "code": code_hash("memtrack.runs.recording"),
        }
    )


def halves_fingerprint(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device
) -> Fingerprint:
    """What the networks of halves depend on; raises as `training_fingerprint`."""
    training = training_fingerprint(params, data, variant, device)
    code = {"code": code_hash("memtrack.runs.halves", "memtrack.runs.turn_over")}
    return Fingerprint(causes={**training.causes, **halves_causes(params, variant), **code})


def package_versions(chosen: ModelParams) -> list[str]:
    """The versions of the libraries that affect the numbers of a network."""
    found = [
        torch.__version__,
        version("torchvision"),
        np.__version__,
    ]  # importing torchvision takes two seconds
    if chosen.kind == "timm":
        check_name(chosen)
        found.append(f"timm {version('timm')}")
    code = own_code(chosen)
    return found if code is None else [*found, *own_packages(code)]
