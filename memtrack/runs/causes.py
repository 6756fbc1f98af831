"""What the user chooses of what results depend on.

A separate module because importing torch takes seconds.
"""

from __future__ import annotations

from typing import Any

from memtrack.config.params import Params
from memtrack.data.variants import VariantData


def training_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of a training the user chooses."""
    train = params.train.model_dump(mode="json", exclude={"workers", "device"})
    return {**variant.causes, "train": train}


def recording_causes(params: Params) -> dict[str, Any]:
    """What of a recording the user chooses, besides the epochs."""
    return {
        "curvature": params.curvature.model_dump(mode="json"),
        "record": params.record.model_dump(mode="json", exclude={"epochs", "batch_size", "checkpoints"}),
    }
