"""What the user chooses of what results depend on.

A separate module because importing torch takes seconds.
"""

from __future__ import annotations

from typing import Any

from memtrack.config.params import Params
from memtrack.config.sections.robust import RobustParams
from memtrack.config.sections.train import ModelParams, RecipeParams
from memtrack.data.variants import VariantData
from memtrack.runs.own_code import own_code

_NO_CAUSE = {"weights_folder"}
"""Keys of a network that shape nothing: their content counts."""
_NOT_IN_A_SWEEP = {"epochs", "batch_size", "checkpoints", "susceptibility"}
"""Keys of section `record` that the recorded numbers of an epoch do not depend on."""


def network_causes(chosen: ModelParams) -> dict[str, Any]:
    """The code of an own network.

    Raises:
        InputError: if the code is not there.
    """
    code = own_code(chosen)
    return {} if code is None else {"network": code.digest}


def training_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of a training the user chooses."""
    train = params.train.model_dump(
        mode="json", exclude={"workers": True, "device": True, "model": _NO_CAUSE}
    )
    for name, off in RobustParams().model_dump(mode="json").items():
        if train[name] == off:  # as if there were no such key
            del train[name]
    return {**variant.causes, "train": train, **network_causes(params.train.model)}


def recording_causes(params: Params) -> dict[str, Any]:
    """What of a recording the user chooses, besides the epochs."""
    return {
        "curvature": params.curvature.model_dump(mode="json"),
        "record": params.record.model_dump(mode="json", exclude=_NOT_IN_A_SWEEP),
    }


def evaluation_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of the scores of a variant the user chooses."""
    found = {
        **trajectory_causes(params, variant),
        "scores": params.evaluate.model_dump(mode="json")["scores"],
        **pretrained_causes(params),
    }
    if variant.name in params.suspects.variants:
        found |= suspects_causes(params, variant)
    if variant.name in params.halves.variants:
        found |= halves_causes(params, variant)
    if variant.name in params.averaged.variants:
        found |= averaged_causes(params, variant)
    return found


def averaged_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of several trainings the user chooses."""
    others = [params.with_training(changes) for changes in params.averaged.trainings]
    causes = [trajectory_causes(other, variant) for other in others]
    return {**trajectory_causes(params, variant), "averaged": causes}


def halves_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of the networks of halves the user chooses."""
    return {**training_causes(params, variant), "halves": {"seed": params.halves.seed}}


def suspects_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of the suspects that are learned from flipped labels the user chooses."""
    flips = params.suspects.model_dump(mode="json", exclude={"variants", "pretrained"})
    return {**trajectory_causes(params, variant), "suspects": flips, **pretrained_causes(params)}


def pretrained_causes(params: Params) -> dict[str, Any]:
    """What of the network `suspects.pretrained` the user chooses, if there is one."""
    chosen = params.suspects.pretrained
    if chosen is None:
        return {}
    return {"pretrained": chosen.model_dump(mode="json", exclude=_NO_CAUSE) | network_causes(chosen)}


def trajectory_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of a trajectory the user chooses."""
    return {
        **training_causes(params, variant),
        **recording_causes(params),
        "epochs": list(params.recorded_epochs()),
    }


def memorization_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of the networks that memorization is estimated from the user chooses, besides their number."""
    return {**ensemble_causes(params, variant), "share": params.memorization.share}


def ensemble_causes(params: Params, variant: VariantData) -> dict[str, Any]:
    """What of the networks of memorization and utility the user chooses."""
    return {
        **variant.causes,
        "recipe": params.recipe.model_dump(
            mode="json", include=set(RecipeParams.model_fields), exclude={"model": _NO_CAUSE}
        ),
        **network_causes(params.recipe.model),
        "seed": params.memorization.seed,
        "precision": params.memorization.precision,
    }
