"""The results of a finished training, checked before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memtrack.config.json_files import read_json
from memtrack.config.params import Params
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.scores import Need, needs
from memtrack.data.manifest import KeptFolder
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.causes import recording_causes, training_causes
from memtrack.runs.metrics import METRICS, TrainMetrics
from memtrack.terminal.progress import Progress
from memtrack.tracking.reference import RunReference

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 256
"""The number of samples that are measured at a time."""


class TrainedRun:
    """The results of a `stage` such as train@NAME or repeat@NAME-SEED, in `folder`.

    Attributes:
        trajectory: the recorded numbers. metrics: the content of metrics.json.
        reference: the MLflow run of the training.

    Raises:
        InputError: if the trajectory is damaged, or was recorded on another variant or with other parameters.
    """

    def __init__(
        self, params: Params, data: PreparedData, variant: VariantData, folder: Path, stage: str
    ) -> None:
        self._remedy = f"run `dvc repro {stage}`"
        self._params, self._data, self._variant, self._folder = params, data, variant, folder
        kept = KeptFolder(folder / "trajectory", self._remedy)
        kept.require(**recording_causes(params))
        self.trajectory = recorded_trajectory(params, variant, kept)
        if self.trajectory.epochs != params.recorded_epochs():
            raise kept.problem("epochs", "are others than record.epochs names")
        self.metrics = read_json(TrainMetrics, kept.file(f"../{METRICS}"))
        self.reference = read_json(RunReference, folder / "run.json")

    def evidence(self, scores: Iterable[str]) -> Mapping[Need, Any]:
        """What the scores with these names are computed from."""
        found: dict[Need, Any] = {Need.EPOCHS: self.trajectory}
        if any(Need.NETWORKS in needs(name) for name in scores):
            found[Need.NETWORKS] = CheckpointNetworks(
                self._params,
                self._data,
                self._variant,
                self._folder / "checkpoints",
                self.trajectory.epochs,
                self._remedy,
            )
        return found


def recorded_trajectory(params: Params, variant: VariantData, kept: KeptFolder) -> Trajectory:
    """The trajectory in a folder, whatever the parameters of its recording.

    Raises:
        InputError: if it is damaged or was changed, or belongs to another training or variant.
    """
    kept.require("training", **training_causes(params, variant))
    kept.check_all()
    trajectory = Trajectory(kept.folder)
    with kept.reading("ids.npy"):
        if trajectory.ids.tolist() != variant.ids:
            raise ValueError("other samples")
    for epoch in trajectory.epochs:
        kept.file(f"epochs/epoch_{epoch:04d}.json")
        if broken := trajectory.damaged(epoch):
            raise kept.problem(broken.relative_to(kept.folder).as_posix(), "is damaged")
    return trajectory


class CheckpointNetworks:
    """The networks of a training, for scores; see `memtrack.core.scores.registry.RecordedNetworks`."""

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        folder: Path,
        epochs: tuple[int, ...],
        remedy: str,
    ) -> None:
        # these import torch, which takes seconds, and most scores do not need it
        from memtrack.runs.checkpoints import trained_checkpoints
        from memtrack.runs.networks import chosen_device

        self.labels: NDArray[np.int64] = variant.given
        self.shape = data.info.shape
        self._data, self._variant, self._epochs, self._remedy = data, variant, epochs, remedy
        self._train, self._device = params.train, chosen_device(params.train)
        self._cache = params.compute.image_cache_bytes
        self._checkpoints = trained_checkpoints(params, variant, folder, remedy=remedy)

    def models(self) -> Iterator[nn.Module]:
        """The networks after each recorded epoch.

        Raises:
            InputError: if a network is missing or damaged.
        """
        from memtrack.runs.checkpoints import trained_network

        for epoch in Progress(self._epochs, "measure the networks of recorded epochs"):
            model = trained_network(
                self._train, self._data.info, self._checkpoints, epoch, remedy=self._remedy
            )
            yield model.to(self._device)

    def batches(self, rows: NDArray[np.int64]) -> Iterable[tuple[Tensor, Tensor]]:
        """The samples `rows`, in batches."""
        from memtrack.data.batches import variant_batches

        self._data.keep_decoded(self._cache)
        return variant_batches(
            self._data,
            self._variant,
            batch_size=BATCH,
            device=self._device,
            workers=self._train.workers,
            rows=rows,
        )
