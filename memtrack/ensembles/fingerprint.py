"""What the networks of an ensemble depend on."""

from __future__ import annotations

from typing import Any

import torch

from memtrack.config.params import Params
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.causes import ensemble_causes
from memtrack.runs.code import code_hash
from memtrack.runs.fingerprint import Fingerprint, package_versions
from memtrack.runs.pretrained import weights_cause


def ensemble_fingerprint(
    params: Params, data: PreparedData, variant: VariantData, device: torch.device, **more: Any
) -> Fingerprint:
    """What the networks of memorization and utility depend on; `more` describes their subsets.

    Raises:
        InputError: if the images are not those that were prepared.
    """
    data.kept.check_all()
    return Fingerprint(
        causes={
            **ensemble_causes(params, variant),
            "device": device.type,
            **weights_cause(params.recipe.model),
            "packages": package_versions(params.recipe.model),
            "code": code_hash("memtrack.ensembles.group_trainer", "memtrack.ensembles.inputs"),
            **more,
        }
    )
