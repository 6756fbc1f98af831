"""The results of a finished training, checked before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrack.config.json_files import read_json
from memtrack.config.params import Params
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.scores import Need, needs
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.data.all_images import AllImages
from memtrack.data.manifest import KeptFolder
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.causes import recording_causes, training_causes
from memtrack.runs.metrics import METRICS, TrainMetrics
from memtrack.runs.trained_networks import (
    NearestInPretrained,
    NearestSamples,
    NearestToTests,
    TrainedNetworks,
    nearest_by_pixels,
    nearest_by_pretrained,
    nearest_of_both,
)
from memtrack.tracking.reference import read_reference


class TrainedRun:
    """The results of a `stage` such as train@NAME or repeat@NAME-SEED, in `folder`.

    Attributes:
        trajectory: the recorded numbers. metrics: the content of metrics.json.
        reference: the MLflow run of the training.

    Args:
        alike: a training on the same images, whose neighbours by pixels and in a pretrained network are
            those of this one, too.
        tests: whether the nearest training samples of the test samples are wanted, too.

    Raises:
        InputError: if the trajectory is damaged, or was recorded on another variant or with other parameters.
    """

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        folder: Path,
        stage: str,
        *,
        alike: TrainedRun | None = None,
        tests: bool = False,
    ) -> None:
        self._remedy = f"run `dvc repro {stage}`"
        self._params, self._data, self._variant, self._folder = params, data, variant, folder
        self._alike, self._tests = alike, tests
        self._of_both = cache(lambda count: nearest_of_both(AllImages(data, variant), count))
        kept = KeptFolder(folder / "trajectory", self._remedy)
        kept.require(**recording_causes(params))
        self.trajectory = recorded_trajectory(params, variant, kept)
        if self.trajectory.epochs != params.recorded_epochs():
            raise kept.problem("epochs", "are others than record.epochs names")
        self.metrics = read_json(TrainMetrics, kept.file(f"../{METRICS}"))
        self.reference = read_reference(folder, self._remedy)
        self._evidence: dict[Need, Any] = {Need.EPOCHS: self.trajectory}
        if params.suspects.pretrained is not None:
            search = partial(nearest_by_pretrained, params, data, variant)
            if alike is not None:
                search = alike._evidence[Need.PRETRAINED].search
            self._evidence[Need.PRETRAINED] = NearestInPretrained(variant.given, search)

    def evidence(self, scores: Iterable[str]) -> Mapping[Need, Any]:
        """What the scores with these names are computed from, and the neighbours in a pretrained network if
        there is one."""
        wanted = {need for name in scores for need in needs(name)}
        if wanted & {Need.NETWORKS, Need.NEIGHBOURS} and Need.NETWORKS not in self._evidence:
            networks = TrainedNetworks(
                self._params,
                self._data,
                self._variant,
                self._folder / "checkpoints",
                self.trajectory.epochs,
                self._remedy,
            )
            if self._tests:
                nearest = NearestSamples(
                    self._variant.given,
                    networks.features,
                    lambda count: self._of_both(count)[0],
                    networks.test_features,
                )
            else:
                pixels = partial(nearest_by_pixels, self._variant)
                if self._alike is not None:
                    pixels = self._alike.evidence([SUSPICION])[Need.NEIGHBOURS].pixels
                nearest = NearestSamples(self._variant.given, networks.features, pixels)
            self._evidence |= {Need.NETWORKS: networks, Need.NEIGHBOURS: nearest}
        return self._evidence

    def nearest_to_tests(self, labels: NDArray[np.int64]) -> NearestToTests:
        """The nearest training samples of the test samples with these labels, int64 (T,); the run was made
        with `tests`."""
        samples = self.evidence([SUSPICION])[Need.NEIGHBOURS]
        return NearestToTests(labels, samples, lambda count: self._of_both(count)[1])


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
