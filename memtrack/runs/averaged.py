"""Several trainings of a variant, and the mean ranks of its scores in them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from memtrack.config.params import Params
from memtrack.config.paths import TRAIN_RESULTS, averaged_training
from memtrack.core.scores import compute
from memtrack.core.scores.from_trajectory import mean_ranks
from memtrack.core.scores.registry import Values
from memtrack.core.scores.several_trainings import AVERAGED
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.core.training.distributed import World
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.trained import TrainedRun
from memtrack.runs.training import train


@dataclass(frozen=True)
class Averaged:
    """Several trainings of a variant, the one of stage `train` first.

    Attributes:
        params: of the first one. runs: the trainings.
        mean_ranks: for each score of `AVERAGED` the mean rank of each sample, (N,), 1 for the smallest value.
        agreement: Spearman's correlation of `suspicion` between two trainings, the mean over all pairs.
    """

    params: Params
    variant: VariantData
    runs: tuple[TrainedRun, ...]
    mean_ranks: dict[str, Values]
    agreement: float


def average(params: Params, name: str, world: World) -> Averaged | None:
    """Train on the variant `name` as section `averaged` says, as far as this is not done, and average.

    Args:
        world: the processes that train together, each of which calls this function. The first one averages.

    Raises:
        InputError: as `train`, and if there is no training of the variant.
    """
    data = PreparedData.current(params.data)
    variant = VariantData(name, data)
    own = TrainedRun(params, data, variant, TRAIN_RESULTS / name, f"train@{name}")
    others = {
        averaged_training(name, changes.key): params.with_training(changes)
        for changes in params.averaged.trainings
    }
    for number, (folder, changed) in enumerate(others.items()):
        train(changed, name, folder, run_name=f"{name}, another training {number}", world=world)
    if not world.is_first:
        return None
    runs = (
        own,
        *(
            TrainedRun(changed, data, variant, folder, f"averaged@{name}", alike=own)
            for folder, changed in others.items()
        ),
    )
    values = {score: [compute(score, run.evidence(AVERAGED)) for run in runs] for score in AVERAGED}
    ranked = [mean_ranks([found]) for found in values[SUSPICION]]
    return Averaged(
        params,
        variant,
        runs,
        {score: mean_ranks(found) for score, found in values.items()},
        float(np.mean([np.corrcoef(first, second)[0, 1] for first, second in combinations(ranked, 2)])),
    )
