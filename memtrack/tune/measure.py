"""The AUROC of any setting of the curvature, from the checkpoints of a trained variant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from memtrack.core.curvature import ESTIMATORS, Estimator, Norm
from memtrack.core.recorder import LengthRecorder, fastest_batch_size
from memtrack.core.scores import SCORES
from memtrack.core.trajectory import Measured
from memtrack.io.checkpoints import Checkpoints
from memtrack.io.dataset import PreparedData
from memtrack.io.fingerprint import Fingerprint, recording_fingerprint, training_fingerprint
from memtrack.io.lengths import LengthCache
from memtrack.io.loading import Batches, variant_batches
from memtrack.io.networks import chosen_device, trained_network
from memtrack.io.params import Params, mistake
from memtrack.io.paths import TRAIN_RESULTS
from memtrack.io.problems import InputError, Problem
from memtrack.io.progress import Progress
from memtrack.io.variants import VariantData
from memtrack.io.workplace import TRAINING
from memtrack.tune.truth import Truth

IN_MEMORY = 2**28
"""So many numbers of images, and of their gradients, are kept in memory (1 GiB each)."""
TRIED = 256
"""So many samples per thread are swept to find the fastest batch size."""


Samples = Batches | list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Setting:
    """What a trial tries: h, n, the norm, the score that combines the epochs, and the epochs."""

    perturbation_scale: float
    probes: int
    norm: Norm
    score: str
    epochs: tuple[int, ...]


def _check_labels(params: Params, variant: VariantData) -> None:
    """`InputError` where the labels were made with other parameters than are in force."""
    made, now = variant.summary.made_from, params.variants[variant.name].model_dump(mode="json")
    for key in now:
        if made.get(key) != now[key]:
            text = (
                f"was {made.get(key)} when data/variants/{variant.name} was made: "
                f"run `dvc repro train@{variant.name}`"
            )
            raise mistake("variants", variant.name, key, message=text)


class TrainedVariant:
    """The checkpoints of a variant, if they were trained with the parameters and data in force.

    Attributes:
        causes: all but the weights, the epoch, h and the probe that shapes a measured length.
        weights: the sha256 of the network after each epoch.

    Raises:
        InputError: where they were not, or are not there, saying which command makes them.
    """

    def __init__(self, params: Params, name: str, epochs: Sequence[int]) -> None:
        self.name = name
        self.params = params
        self.remedy = f"run `dvc repro train@{name}` (or add --repro)"
        folder = TRAIN_RESULTS / name / "checkpoints"
        if not (folder / TRAINING).exists():
            raise InputError(
                [Problem(folder, message=f"the variant {name} is not trained yet: {self.remedy}")]
            )
        self.data = PreparedData()
        self.variant = VariantData(name, self.data)
        self.device = chosen_device(params)
        now = training_fingerprint(params, self.data, self.variant, self.device)
        # on which machine these were trained does not matter to what is measured
        if others := now.differing(folder / TRAINING) - {"device", "packages"}:
            changed = ", ".join(sorted(others))
            text = f"was trained before what is in force now was changed ({changed}): {self.remedy}"
            raise InputError([Problem(folder, message=text)])
        _check_labels(params, self.variant)
        self.causes = {
            "data": now.causes["data"], "labels": now.causes["labels"], "pixels": now.causes["pixels"],
            "model": params.train.model.model_dump(mode="json"),
            "method": params.curvature.method, "seed": params.curvature.seed,
            "precision": params.record.precision, "code": recording_fingerprint(params).causes["code"],
        }  # fmt: skip
        self.checkpoints = Checkpoints(folder)
        for epoch in epochs:
            if self.checkpoints.missing(epoch, weights=True):
                setting = "" if params.record.checkpoints == "all" else "set record.checkpoints: all and "
                text = f"epoch {epoch} is not there: {setting}{self.remedy}"
                raise InputError([Problem(self.checkpoints.weights(epoch), message=text)])
        self.weights = {epoch: str(self.checkpoints.metrics(epoch).weights) for epoch in epochs}

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Which training samples carry a wrong label, (N,)."""
        return self.variant.corrupted

    def model(self, epoch: int) -> nn.Module:
        """The network after an epoch."""
        chosen, record = self.params.train.model, self.data.record
        model = trained_network(chosen, record, self.checkpoints, epoch, remedy=self.remedy)
        return model.to(self.device)

    def batches(self, size: int, rows: NDArray[np.int64] | None = None) -> Batches:
        """The training images with their given labels."""
        workers = self.params.train.workers
        return variant_batches(self.data, self.variant, batch_size=size, device=self.device,
                               workers=workers, rows=rows)  # fmt: skip

    @cached_property
    def sweep_batch_size(self) -> int:
        """As record.batch_size says, or the fastest."""
        asked = self.params.record.batch_size
        if asked is not None:
            return asked
        count = TRIED * (torch.get_num_threads() if self.device.type == "cpu" else 16)
        tried = next(iter(self.batches(count)))
        return fastest_batch_size(self.model(self.checkpoints.epochs[-1]), *tried, self.estimator(1.0))

    def estimator(self, scale: float) -> Estimator:
        """The estimator at h = `scale`; the probes are asked for by number."""
        params = self.params
        make = ESTIMATORS[params.curvature.method]
        return make(scale, 1, "plain", params.curvature.seed, params.record.precision)


class Measure:
    """Curvature of some samples (`rows`) of a trained variant, at any setting, each part measured once."""

    def __init__(
        self, trained: TrainedVariant, rows: NDArray[np.int64], truth: Truth, *, cache_gb: float
    ) -> None:
        """`truth`: of the samples `rows`."""
        self.trained = trained
        self.rows = rows
        self.truth = truth
        used = {"rows": hashlib.sha256(rows.tobytes()).hexdigest(), "device": trained.device.type,
                "torch": torch.__version__}  # fmt: skip
        key = Fingerprint(causes={**trained.causes, **used}).key
        self.cache = LengthCache(key, len(rows), cache_gb * 1e9)
        self._batches: Samples | None = None
        self._recorders: dict[int, LengthRecorder] = {}
        self._latest: tuple[tuple[int, float], NDArray[np.float64]] = (0, 0.0), np.empty((0, len(rows)))

    def curvature(self, setting: Setting, epoch: int) -> NDArray[np.float64]:
        """The curvature of the samples after an epoch, (len(rows),); measured as far as it is not known."""
        lengths = self._lengths(epoch, setting.perturbation_scale, setting.probes)
        return (lengths**2 if setting.norm == "squared" else lengths).mean(axis=0)

    def _lengths(self, epoch: int, scale: float, probes: int) -> NDArray[np.float64]:
        """Of the first probes, (probes, len(rows))."""
        asked, known = self._latest
        if asked == (epoch, scale) and len(known) >= probes:
            return known[:probes]
        checkpoint = f"epoch_{epoch:04d}_{self.trained.weights[epoch][:16]}"
        found = {probe: self.cache.get(checkpoint, scale, probe) for probe in range(probes)}
        missing = [probe for probe, lengths in found.items() if lengths is None]
        if missing:
            measured = self._recorder(epoch).lengths(self.trained.estimator(scale), missing)
            self.cache.put(checkpoint, scale, missing, measured)
            found |= dict(zip(missing, measured, strict=True))
        lengths = np.array(list(found.values()), dtype=np.float64)
        self._latest = (epoch, scale), lengths
        return lengths

    def steps(self, setting: Setting) -> Iterator[Measured]:
        """What is known after each further checkpoint; the last one is all of it.

        The latest checkpoint comes first: late ones tell most (benchmarks/README.md).
        """
        arrays: dict[int, NDArray[np.generic]] = {}
        for epoch in reversed(setting.epochs):
            arrays[epoch] = self.curvature(setting, epoch)
            yield Measured({"curvature": arrays})

    def scores(self, settings: Sequence[Setting], what: str | None = None) -> list[NDArray[np.float64]]:
        """The scores of the samples, (len(rows),), for each setting; under a progress bar that says `what`.

        The curvature of all settings is in memory at once.
        """
        # the most probes of an h first: they hold the lengths of fewer ones
        order = sorted(set(settings), key=lambda setting: (setting.perturbation_scale, -setting.probes))
        arrays: dict[Setting, dict[int, NDArray[np.generic]]] = {setting: {} for setting in order}
        epochs: Iterable[int] = sorted({epoch for setting in order for epoch in setting.epochs})
        for epoch in epochs if what is None else Progress(epochs, what):
            for setting in order:
                if epoch in setting.epochs:
                    arrays[setting][epoch] = self.curvature(setting, epoch)
        return [SCORES[setting.score](Measured({"curvature": arrays[setting]})) for setting in settings]

    def samples(self) -> Samples:
        """The samples in batches of the fastest size, in memory if they fit."""
        if self._batches is None:
            batches = self.trained.batches(self.trained.sweep_batch_size, self.rows)
            self._batches = list(batches) if self._numbers <= IN_MEMORY else batches
        return self._batches

    @property
    def _numbers(self) -> int:
        return len(self.rows) * int(np.prod(self.trained.data.record.shape))

    def _recorder(self, epoch: int) -> LengthRecorder:
        """Of a checkpoint; as many are kept as fit into memory with their networks."""
        if epoch not in self._recorders:
            model = self.trained.model(epoch)
            size = self._numbers + 2 * sum(tensor.numel() for tensor in model.state_dict().values())
            while self._recorders and (len(self._recorders) + 1) * size > IN_MEMORY:
                del self._recorders[next(iter(self._recorders))]
            self._recorders[epoch] = LengthRecorder(
                model, self.samples(), self.trained.params.record.precision, epoch=epoch,
                keep=self._numbers <= IN_MEMORY,
            )  # fmt: skip
        return self._recorders[epoch]
