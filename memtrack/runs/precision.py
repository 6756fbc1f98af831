"""The precision of the sweep: what record.precision names, or what is measured for `auto`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from memtrack.config.errors import InputError
from memtrack.config.json_files import StrictModel, read_json, write_json
from memtrack.config.params import Params
from memtrack.core.recording.curvature import Estimator
from memtrack.core.recording.precision import SMALLEST_SCALE, Precision
from memtrack.core.recording.rank_agreement import rank_agreement
from memtrack.core.training.precision import fastest_precision
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData

AGREEMENT = 0.999
"""The least Spearman correlation with float64 that is good enough."""
SAMPLES, BATCH = 512, 64
"""The number of samples that are measured, and how many at a time: float64 takes memory."""


class MeasuredPrecision(StrictModel):
    """The precision that was chosen, and what it was chosen by.

    `measured` has, for each epoch after which it was measured and for each precision, Spearman's rho of
    curvature and gradient norm with float64 (-1 if there is none).
    """

    precision: Precision
    measured: dict[str, dict[Precision, dict[str, float]]]


class SweepPrecision:
    """The precision of all recorded epochs of a training.

    With `auto`, it is the fastest that ranks a sample of the user's images as float64 does. Only a GPU that
    computes with tf32 and bfloat16 has a choice. It is measured with the network after the first recorded
    epoch, the second, the fourth, the eighth and so on, and the last: networks that fit their samples better
    have other rounding errors. If a precision is not good enough any more, the next one is taken, and the
    epochs that were recorded before are to be recorded again.

    Args:
        estimator: the estimator of the curvature; its precision is not used.
        file: where the choice is kept, so that a training that is stopped goes on with it; None: nowhere.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        device: torch.device,
        estimator: Estimator,
        *,
        file: Path | None = None,
    ) -> None:
        self._params, self._data, self._variant, self._device = params, data, variant, device
        self._estimator, self._file = estimator, file
        self.choices = self._choices()

    def _choices(self) -> list[Precision]:
        """The precisions that may be chosen, the fastest first."""
        named = self._params.record.precision
        if named != "auto":
            return [named]
        fast: list[Precision] = ["bfloat16", "tf32"] if fastest_precision(self._device) != "float32" else []
        exact = self._params.curvature.method == "hessian"
        return [*(one for one in fast if exact or self._estimator.scale >= SMALLEST_SCALE[one]), "float32"]

    @property
    def chosen(self) -> Precision:
        """The precision in force; the fastest until one is measured."""
        return self._state.precision

    @cached_property
    def _state(self) -> MeasuredPrecision:
        """What was chosen before, unless the file is damaged or this device would not choose it."""
        if self._file is not None and self._file.exists():
            try:
                stored = read_json(MeasuredPrecision, self._file)
            except InputError as error:
                print(f"{error}\nThe precision of the sweep is chosen again")
            else:
                if stored.precision in self.choices:
                    return stored
            self._file.unlink()
        return MeasuredPrecision(precision=self.choices[0], measured={})

    def check(self, epoch: int, model: nn.Module) -> bool:
        """Measure whether `chosen` is good enough after an epoch; whether another one was chosen."""
        before, recorded = self.chosen, self._params.recorded_epochs()
        number = recorded.index(epoch) + 1
        due = number & (number - 1) == 0 or number == len(recorded)
        if due and str(epoch) not in self._state.measured:
            self.measure(epoch, model)
        return self.chosen != before

    def measure(self, epoch: int, model: nn.Module) -> None:
        """Choose the fastest precision, from `chosen` on, that is good enough for the network of an epoch."""
        left = self.choices[self.choices.index(self.chosen) :]
        if len(left) == 1:
            return
        drawn = np.random.Generator(np.random.PCG64(0)).permutation(len(self._variant.ids))[:SAMPLES]
        batches = list(
            variant_batches(
                self._data, self._variant, batch_size=BATCH, device=self._device,
                workers=self._params.train.workers, rows=np.sort(drawn),
            )
        )  # fmt: skip
        found: dict[Precision, dict[str, float]] = {}
        for precision in left[:-1]:
            found |= rank_agreement(model, batches, self._estimator, [precision], epoch=epoch)
            if min(found[precision].values()) >= AGREEMENT:
                break
        else:
            precision = left[-1]
        self._state = MeasuredPrecision(
            precision=precision, measured={**self._state.measured, str(epoch): found}
        )
        if self._file is not None:
            write_json(self._state, self._file)
        rhos = ", ".join(f"{name} {min(values.values()):.4f}" for name, values in found.items())
        print(
            f"{self._variant.name}: the sweep computes in {self.chosen} (rank correlation with float64 after "
            f"epoch {epoch}, h = {self._estimator.scale:g}: {rhos})"
        )
