"""How well a precision keeps the order of the samples, against float64."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr
from torch import Tensor, nn

from memtrack.core.recording.curvature import Estimator
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.quantities import SampleArrays
from memtrack.core.recording.recorder import joined, record_epoch

RANKED = ("curvature", "input_gradient_norm")


def rank_agreement(
    model: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor]],
    estimator: Estimator,
    precisions: Sequence[Precision],
    *,
    epoch: int,
) -> dict[Precision, dict[str, float]]:
    """Spearman's rho of curvature and gradient norm with the same numbers in float64, for each precision.

    Args:
        model, batches, epoch: as in `record_epoch`, on a device that has float64.
        estimator: its precision is not used.

    Returns:
        for each precision a rho for each name in `RANKED`; -1 where there is none: the numbers are all the
        same or not finite, or torch cannot run the network in this precision or in float64.
    """

    def measured(precision: Precision | None) -> SampleArrays | None:
        network, samples, arithmetic = model, batches, precision or "float32"
        try:
            if precision is None:
                network = copy.deepcopy(model).double()
                samples = [(inputs.double(), labels) for inputs, labels in batches]
            return joined(
                record_epoch(network, samples, replace(estimator, precision=arithmetic), epoch=epoch)
            )
        except (RuntimeError, FloatingPointError):
            return None

    exact = measured(None)
    found = {precision: None if exact is None else measured(precision) for precision in precisions}
    return {
        precision: {name: _rho(arrays, exact, name) for name in RANKED} for precision, arrays in found.items()
    }


def _rho(found: SampleArrays | None, exact: SampleArrays | None, name: str) -> float:
    if found is None or exact is None:
        return -1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant numbers, which have no ranks
        rho = float(spearmanr(found[name], exact[name]).statistic)
    return rho if np.isfinite(rho) else -1.0
