"""The sweep over the training samples after an epoch: what its numbers depend on besides the network.

The fingerprint of a recording holds a hash of this module and of all modules that it imports.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from memtrack.config.params import Params
from memtrack.core.files import whole_file
from memtrack.core.recording.curvature import ESTIMATORS, Estimator
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.quantities import SampleArrays
from memtrack.core.recording.recorder import fastest_batch_size, record_epoch, samples_to_time
from memtrack.core.training.distributed import World
from memtrack.data.batches import variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.precision import SweepPrecision
from memtrack.terminal.progress import Progress


def estimator(params: Params, precision: Precision, **other: Any) -> Estimator:
    """The estimator of section `curvature`; `other` replaces values of its attributes."""
    options = params.curvature
    chosen = {
        "scale": options.perturbation_scale,
        "probes": options.probes,
        "norm": options.norm,
        "seed": options.seed,
        "precision": precision,
    }
    return ESTIMATORS[options.method](**{**chosen, **other})


def sweep_batch_size(
    params: Params,
    data: PreparedData,
    variant: VariantData,
    model: nn.Module,
    device: torch.device,
    precision: Precision,
) -> int:
    """record.batch_size, or the fastest batch size according to a short measurement."""
    if params.record.batch_size is not None:
        return params.record.batch_size
    count = samples_to_time(data.info.shape, device)
    workers = params.train.workers
    tried = next(iter(variant_batches(data, variant, batch_size=count, device=device, workers=workers)))
    return fastest_batch_size(model, *tried, estimator(params, precision))


class Recording:
    """Sweeps of one network.

    Args:
        model: the network. Its weights must be those of the epoch that is recorded.
        world: the processes that share the samples. The first one measures.
        batch_size_file: the file in which the measured batch size is kept; None: nowhere.
        precision_file: the file in which the measured precision is kept; None: nowhere.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        model: nn.Module,
        device: torch.device,
        world: World,
        batch_size_file: Path | None = None,
        precision_file: Path | None = None,
    ) -> None:
        self._params, self._data, self._variant, self._device = params, data, variant, device
        self._model, self._world = model, world
        self._swept = cast(nn.Module, torch.compile(model)) if params.record.compile else model
        self._kept_size = batch_size_file
        self._precision = SweepPrecision(
            params, data, variant, device, estimator(params, "float32"), file=precision_file
        )

    @property
    def precision(self) -> Precision:
        """The precision of every recorded epoch, as far as it is known."""
        return self._precision.chosen

    def choose_precision(self, epoch: int) -> bool:
        """Measure the precision with the network after `epoch`, if this is due; whether it changed."""
        changed = self._precision.check(epoch, self._model)
        if changed and self._kept_size is not None:
            self._kept_size.unlink(missing_ok=True)  # more bits need more memory
        return changed

    def sweep(self, epoch: int) -> Generator[SampleArrays, None, None]:
        """The numbers of the samples after `epoch`, batch by batch, with a progress bar. The first process
        has those of all samples, the others have none."""
        size, precision = self._world.decided(lambda: (self._batch_size(), self.precision))
        batches = variant_batches(
            self._data, self._variant, batch_size=size, device=self._device,
            workers=self._params.train.workers, part=self._world.some_of,
        )  # fmt: skip
        parts = record_epoch(self._swept, batches, estimator(self._params, precision), epoch=epoch)
        shown = Progress(parts, f"record epoch {epoch}", total=len(batches), inner=True)
        try:
            yield from self._world.in_order(shown)
        finally:
            parts.close()

    def _batch_size(self) -> int:
        """The batch size. It is measured once per training, even if the training is interrupted."""
        if self._params.record.batch_size is not None:
            return self._params.record.batch_size
        file = self._kept_size
        if file is not None and file.exists() and file.read_text().isdigit():
            return int(file.read_text())
        size = sweep_batch_size(
            self._params, self._data, self._variant, self._swept, self._device, self.precision
        )
        if file is not None:
            with whole_file(file) as opened:
                opened.write(str(size).encode())
        return size
