"""What the user chooses of what results depend on.

A separate module because importing torch takes seconds.
"""

from __future__ import annotations

from typing import Any

from memtrack.config.params import Params
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import LABELS, VariantData


def training_causes(params: Params, data: PreparedData, variant: VariantData) -> dict[str, Any]:
    """What of a training the user chooses."""
    train = params.train.model_dump(mode="json", exclude={"workers", "device"})
    return {**data_causes(data, variant), "train": train}


def recording_causes(params: Params) -> dict[str, Any]:
    """What of a recording the user chooses, besides the epochs."""
    return {
        "curvature": params.curvature.model_dump(mode="json"),
        "record": params.record.model_dump(mode="json", exclude={"epochs", "batch_size", "checkpoints"}),
    }


def data_causes(data: PreparedData, variant: VariantData) -> dict[str, Any]:
    """What identifies the images and the labels."""
    return {
        "data": data.kept.files,
        "labels": variant.kept.files[LABELS],
        "pixels": None if variant.pixels is None else [variant.pixels.how, variant.pixels.seed],
    }
