"""The scores for any setting of the curvature, from the checkpoints of a trained variant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from memtrack.core.recording.recorder import ProbeNormRecorder
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.core.scores import Need, compute
from memtrack.data.batches import Batches
from memtrack.runs.fingerprint import Fingerprint
from memtrack.terminal.progress import Progress
from memtrack.tune.plan import Side
from memtrack.tune.probe_norms import ProbeNormCache
from memtrack.tune.setting import Setting

IN_MEMORY = 2**28
"""How many numbers of images, and how many of gradients, are kept in memory at most (1 GiB each)."""


Samples = Batches | list[tuple[torch.Tensor, torch.Tensor]]


class SettingEvaluator:
    """Curvature and scores of some samples of a trained variant for any setting. Each part is measured once.

    Attributes:
        trained, rows, truth: as in `Side`.
    """

    def __init__(self, side: Side, *, cache_gb: float) -> None:
        trained, rows = side.trained, side.rows
        self.trained, self.rows, self.truth = trained, rows, side.truth
        used = {"rows": hashlib.sha256(rows.tobytes()).hexdigest(), "device": trained.device.type,
                "torch": torch.__version__}  # fmt: skip
        key = Fingerprint(causes={**trained.causes, **used}).key
        self.cache = ProbeNormCache(key, len(rows), cache_gb * 1e9)
        self._batches: Samples | None = None
        self._recorders: dict[int, ProbeNormRecorder] = {}
        self._latest: tuple[tuple[int, float], NDArray[np.float64]] = (0, 0.0), np.empty((0, len(rows)))

    def curvature(self, setting: Setting, epoch: int) -> NDArray[np.float64]:
        """The curvature of the samples after an epoch, (len(rows),). Only unknown parts are measured."""
        norms = self._probe_norms(epoch, setting.perturbation_scale, setting.probes)
        return (norms**2 if setting.norm == "squared" else norms).mean(axis=0)

    def _probe_norms(self, epoch: int, scale: float, probes: int) -> NDArray[np.float64]:
        """The norms of the first probes, (probes, len(rows))."""
        latest, known = self._latest
        if latest == (epoch, scale) and len(known) >= probes:
            return known[:probes]
        checkpoint = f"epoch_{epoch:04d}_{self.trained.weights[epoch][:16]}"
        found = {probe: self.cache.get(checkpoint, scale, probe) for probe in range(probes)}
        missing = [probe for probe, norms in found.items() if norms is None]
        if missing:
            measured = self._recorder(epoch).probe_norms(self.trained.estimator(scale), missing)
            self.cache.put(checkpoint, scale, missing, measured)
            found |= dict(zip(missing, measured, strict=True))
        norms = np.array(list(found.values()), dtype=np.float64)
        self._latest = (epoch, scale), norms
        return norms

    def steps(self, setting: Setting) -> Iterator[InMemoryTrajectory]:
        """The curvature that is known after each further checkpoint; the last one is complete.

        The latest checkpoint comes first, because late ones are most informative (benchmarks/README.md).
        """
        arrays: dict[int, NDArray[np.generic]] = {}
        for epoch in reversed(setting.epochs):
            arrays[epoch] = self.curvature(setting, epoch)
            yield InMemoryTrajectory({"curvature": arrays})

    def scores(self, settings: Sequence[Setting], what: str | None = None) -> list[NDArray[np.float64]]:
        """The scores of the samples, (len(rows),), for each setting, with a progress bar that shows `what`.

        The curvature of all settings is in memory at once.
        """
        # the most probes of each h first: their norms include those of fewer probes
        order = sorted(set(settings), key=lambda setting: (setting.perturbation_scale, -setting.probes))
        arrays: dict[Setting, dict[int, NDArray[np.generic]]] = {setting: {} for setting in order}
        epochs: Iterable[int] = sorted({epoch for setting in order for epoch in setting.epochs})
        for epoch in epochs if what is None else Progress(epochs, what):
            for setting in order:
                if epoch in setting.epochs:
                    arrays[setting][epoch] = self.curvature(setting, epoch)
        return [
            compute(setting.score, {Need.EPOCHS: InMemoryTrajectory({"curvature": arrays[setting]})})
            for setting in settings
        ]

    def samples(self) -> Samples:
        """The samples in batches of the fastest size; in memory if they fit."""
        if self._batches is None:
            batches = self.trained.batches(self.trained.sweep_batch_size, self.rows)
            self._batches = list(batches) if self._numbers <= IN_MEMORY else batches
        return self._batches

    @property
    def _numbers(self) -> int:
        return len(self.rows) * int(np.prod(self.trained.data.info.shape))

    def _recorder(self, epoch: int) -> ProbeNormRecorder:
        """The recorder of a checkpoint. As many are kept as fit into memory with their networks."""
        if epoch not in self._recorders:
            model = self.trained.model(epoch)
            size = self._numbers + 2 * sum(tensor.numel() for tensor in model.state_dict().values())
            while self._recorders and (len(self._recorders) + 1) * size > IN_MEMORY:
                del self._recorders[next(iter(self._recorders))]
            self._recorders[epoch] = ProbeNormRecorder(
                model, self.samples(), self.trained.precision, epoch=epoch,
                keep=self._numbers <= IN_MEMORY,
            )  # fmt: skip
        return self._recorders[epoch]
