"""The checkpoints of a trained variant, for a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params
from memtrack.config.paths import TRAIN_RESULTS
from memtrack.core.files import file_hash
from memtrack.core.recording.curvature import Estimator
from memtrack.data.batches import Batches, variant_batches
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.causes import network_causes
from memtrack.runs.checkpoints import Checkpoints, trained_network
from memtrack.runs.code import code_hash
from memtrack.runs.fingerprint import Fingerprint, check_labels, training_fingerprint
from memtrack.runs.networks import chosen_device
from memtrack.runs.precision import SweepPrecision
from memtrack.runs.recording import estimator, sweep_batch_size


class TrainedVariant:
    """The checkpoints of a variant, if they were trained with the parameters and data in force.

    Attributes:
        causes: what a measured probe norm depends on, besides the weights, the epoch, h and the probe.
        weights: the sha256 of the network after each epoch.
        precision: the precision of every sweep, also of those at larger h, whose rounding errors are smaller.

    Args:
        scale: the smallest h; None: that of section `curvature`. With record.precision: auto, the precision
            is measured at it with one probe, with the network after the last of the `epochs`.

    Raises:
        InputError: if they were not, or are missing; the message names the command that makes them.
    """

    def __init__(self, params: Params, name: str, epochs: Sequence[int], scale: float | None = None) -> None:
        self.name = name
        self.params = params
        self.remedy = f"run `dvc repro train@{name}` (or add --repro)"
        folder = TRAIN_RESULTS / name / "checkpoints"
        stored = Fingerprint.of_folder(folder)
        if stored is None:
            raise InputError(
                [Problem(folder, message=f"the variant {name} is not trained yet: {self.remedy}")]
            )
        self.data = PreparedData.current(params.data)
        self.data.keep_decoded(params.compute.image_cache_bytes)
        self.variant = VariantData(name, self.data)
        self.device = chosen_device(params.train)
        now = training_fingerprint(params, self.data, self.variant, self.device, folder)
        # the machine on which they were trained does not affect what is measured
        if others := now.differing(stored) - {"device", "packages", "precision"}:
            changed = ", ".join(sorted(others))
            text = f"was trained before what is in force now was changed ({changed}): {self.remedy}"
            raise InputError([Problem(folder, message=text)])
        check_labels(params, self.variant)
        self.causes = {
            "data": now.causes["data"], "labels": now.causes["labels"], "pixels": now.causes["pixels"],
            "model": params.train.model.model_dump(mode="json"), **network_causes(params.train.model),
            "method": params.curvature.method, "seed": params.curvature.seed,
            "code": code_hash("memtrack.runs.recording"),
        }  # fmt: skip
        self.checkpoints = Checkpoints(folder, stored.key)
        for epoch in epochs:
            if self.checkpoints.missing(epoch, weights=True):
                setting = "" if params.record.checkpoints == "all" else "set record.checkpoints: all and "
                text = f"epoch {epoch} is not there: {setting}{self.remedy}"
                raise InputError([Problem(self.checkpoints.weights(epoch), message=text)])
        self.weights = {epoch: str(self.checkpoints.metrics(epoch).weights) for epoch in epochs}
        hardest = estimator(
            params, "float32", scale=scale or params.curvature.perturbation_scale, probes=1, norm="plain"
        )
        chosen = SweepPrecision(params, self.data, self.variant, self.device, hardest)
        if len(chosen.choices) > 1:
            chosen.measure(epochs[-1], self.model(epochs[-1]))
        self.precision = chosen.chosen
        self.causes["precision"] = self.precision

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which training samples carry a wrong label, (N,)."""
        return self.variant.corrupted

    def model(self, epoch: int) -> nn.Module:
        """The network after an epoch; `InputError` if its file is not the one that `weights` names."""
        train, info = self.params.train, self.data.info
        model = trained_network(train, info, self.checkpoints, epoch, remedy=self.remedy)
        path = self.checkpoints.weights(epoch)
        if file_hash(path) != self.weights[epoch]:  # what was loaded is no newer than what is hashed here
            text = "was replaced since the search began: start it again"
            raise InputError([Problem(path, message=text)])
        return model.to(self.device)

    def batches(self, size: int, rows: NDArray[np.int64] | None = None) -> Batches:
        """The training images with their given labels."""
        workers = self.params.train.workers
        return variant_batches(self.data, self.variant, batch_size=size, device=self.device,
                               workers=workers, rows=rows)  # fmt: skip

    @cached_property
    def sweep_batch_size(self) -> int:
        """record.batch_size, or the fastest batch size."""
        model = self.model(self.checkpoints.epochs[-1])
        return sweep_batch_size(self.params, self.data, self.variant, model, self.device, self.precision)

    def estimator(self, scale: float) -> Estimator:
        """The estimator with h = `scale`; its probes are requested by number."""
        return estimator(self.params, self.precision, scale=scale, probes=1, norm="plain")
