"""The driver of a training: it trains, stores, records and reports every epoch that is not done yet.

Results of a finished or interrupted run of the same training are reused: epochs that were trained are not
trained again, and epochs that were recorded with the same settings are not recorded again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.core.evaluation.detection import auroc
from memtrack.core.training.distributed import ALONE, World
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.callbacks import Callback
from memtrack.runs.checkpoints import EpochMetrics
from memtrack.runs.fingerprint import Fingerprint, recording_fingerprint, training_fingerprint
from memtrack.runs.metrics import METRICS, TrainMetrics, write_history
from memtrack.runs.mlflow_run import MlflowLogging
from memtrack.runs.networks import check_memory, chosen_device
from memtrack.runs.pretrained import network_facts
from memtrack.runs.together import Together
from memtrack.runs.work_folder import WorkFolder
from memtrack.terminal.progress import Progress


def train(
    params: Params,
    name: str,
    results: Path,
    *,
    run_name: str | None = None,
    labels: NDArray[np.int64] | None = None,
    callbacks: Sequence[Callback] = (),
    world: World = ALONE,
) -> None:
    """Train on the variant `name`, as far as this is not done, and move everything to `results`.

    Args:
        run_name: the name of the MLflow run; None: the variant's name.
        labels: train on these in place of the given labels, int64 (N,).
        callbacks: called at every step, in this order, before MLflow logs it.
        world: the processes that train together, each of which calls this function. The first one writes
            everything and calls the callbacks.

    Raises:
        FloatingPointError: if the training diverges. InputError: if parameters do not fit the data or this
            machine.
    """
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    if labels is not None:
        variant = variant.flipped(labels)
    device = world.device or chosen_device(params.train)
    check_memory(
        params.train, data.info, len(variant.ids), device,
        robust=params.train, record=params.record, processes=world.size,
    )  # fmt: skip
    fingerprint = training_fingerprint(params, data, variant, device, results / "checkpoints")
    recording = recording_fingerprint(params, fingerprint)
    _check_same(params, world, fingerprint, recording)
    try:
        if not world.is_first:
            Together(params, data, variant, device, world).follow()
            return
        with WorkFolder.claimed(name, fingerprint, recording, variant.ids) as folder:
            network = Together(
                params, data, variant, device, world, folder.batch_size_file, folder.precision_file
            )
            training = Training(params, variant, device, network, folder, results)
            training.prepare()
            facts = network_facts(params.train.model, data.info, network.model)
            if facts:
                print(f"{name}: {', '.join(f'{key}: {value}' for key, value in facts.items())}")
            # the run is opened before anything is computed, because the settings of MLflow may be wrong
            with MlflowLogging.opened(params, data, variant, folder, run_name or name, facts) as mlflow_run:
                training.run([*callbacks, mlflow_run])
            network.end()
    except FloatingPointError as error:
        raise FloatingPointError(f"{error} (train.optimizer.lr)") from None


def _check_same(params: Params, world: World, *fingerprints: Fingerprint) -> None:
    """Raise `InputError` if the processes, which may be on several machines, would not compute the same."""
    for fingerprint in fingerprints:
        first, *others = world.gathered(fingerprint)
        different = set[str]().union(*(first.differing(other) for other in others))
        if different:
            text = f"the processes do not have the same {', '.join(sorted(different))}"
            raise params.compute.mistake("processes", message=text)


NOT_FINITE = -1e38
"""No loss falls or rises so far: `random_label_drop` is as large where a step makes the loss infinite."""


class Training:
    """One training: every epoch is trained, stored, recorded and reported, unless this was done before."""

    def __init__(
        self,
        params: Params,
        variant: VariantData,
        device: torch.device,
        network: Together,
        folder: WorkFolder,
        results: Path,
    ) -> None:
        self.params, self.variant, self.network = params, variant, network
        self.device, self.folder, self.results = device, folder, results
        self.recorded = params.recorded_epochs()
        self.epochs = range(1, params.train.epochs + 1)
        self.susceptibility = params.record.susceptibility
        every_epoch = params.record.checkpoints == "all"
        self.kept = set(self.epochs) if every_epoch else {*self.recorded, params.train.epochs}
        self._curvature_sum: NDArray[np.float64] = np.zeros(len(variant.ids))

    def prepare(self) -> None:
        """Reuse what exists, and report unfinished trainings that are not used."""
        self.results.mkdir(parents=True, exist_ok=True)
        self.folder.adopt(self.results)
        self.folder.repair()
        self.folder.keep_only(self.recorded, self.kept)
        for other in self.folder.others():
            print(f"{other}: an unfinished training with other settings; it stays until you remove it")

    def run(self, callbacks: Sequence[Callback]) -> None:
        """Do what is not done yet, and move everything to the results.

        Raises:
            FloatingPointError: if the training diverges.
        """
        for callback in callbacks:
            callback.on_train_start()
        rows = None
        while rows is None:
            rows = self._run_epochs(callbacks)
        self._finish(rows, callbacks)

    def _run_epochs(self, callbacks: Sequence[Callback]) -> dict[int, dict[str, float]] | None:
        """Train and record every epoch, unless this was done before; returns the metrics of each epoch.

        None if an epoch asks for another precision than that of the epochs recorded before: call it again.
        """
        folder = self.folder
        self._curvature_sum[:] = 0
        missing = [
            epoch
            for epoch in self.epochs
            if folder.checkpoints.missing(
                epoch, weights=epoch in self.kept, random_label_drop=self.susceptibility
            )
        ]
        start, state = self._start(missing)
        rows: dict[int, dict[str, float]] = {}
        drops: list[float] = []
        progress = Progress(self.epochs, f"train {self.variant.name}")
        for epoch in progress:
            for callback in callbacks:
                callback.on_epoch_start(epoch)
            to_train = epoch > start and epoch <= max(missing, default=0)
            if to_train:
                if epoch == start + 1 and state is not None:
                    self.network.load_state(state)
                metrics = EpochMetrics(
                    **asdict(self.network.run_epoch(epoch)),
                    random_label_drop=self._random_label_drop(epoch) if self.susceptibility else None,
                )
                folder.checkpoints.write(epoch, metrics, self.network.model if epoch in self.kept else None)
                folder.states.write(epoch, self.network.state())
                for callback in callbacks:
                    callback.on_epoch_trained(epoch)
            stored = folder.checkpoints.metrics(epoch)
            numbers = stored.numbers()
            if self.susceptibility:
                assert stored.random_label_drop is not None
                drops.append(stored.random_label_drop)
                if min(drops) > NOT_FINITE:
                    numbers["susceptibility"] = fmean(drops)
            progress.note(loss=numbers["train_loss"], accuracy=numbers["train_accuracy"])
            if epoch in self.recorded:
                if not folder.recorded(epoch, self.network.precision):
                    if not to_train:
                        folder.checkpoints.load(epoch, self.network.model)
                        self.network.share()
                    if self.network.choose_precision(epoch) and epoch != self.recorded[0]:
                        return None
                if not folder.recorded(epoch, self.network.precision):
                    with closing(self.network.sweep(epoch)) as parts:
                        folder.record(epoch, parts, self.network.precision)
                    for callback in callbacks:
                        callback.on_epoch_recorded(epoch)
                numbers |= self._recorded_metrics(epoch)
            rows[epoch] = numbers
            for callback in callbacks:
                callback.on_epoch_end(epoch, numbers)
        return rows

    def _random_label_drop(self, epoch: int) -> float:
        """As `Fitting.random_label_drop`; `NOT_FINITE` or less if the step leads to no finite loss."""
        drop = self.network.random_label_drop(epoch)
        return drop if math.isfinite(drop) else NOT_FINITE

    def _start(self, missing: list[int]) -> tuple[int, dict[str, Any] | None]:
        """The epoch after which training continues, and its state; 0 is the beginning."""
        states = self.folder.states
        if not missing:
            print(f"{self.variant.name}: was trained before with these settings: recording alone")
            return self.epochs[-1], None
        for epoch in states.epochs():
            if epoch < missing[0]:
                state = states.read(epoch, self.device)
                if state is not None:
                    print(f"{self.variant.name}: going on after epoch {epoch}")
                    return epoch, state
                print(f"{states.file(epoch)}: is damaged: an earlier epoch is used")
            states.discard(epoch)
        if self.folder.checkpoints.epochs:
            lacks = "checkpoint"
            if not self.folder.checkpoints.missing(missing[0], weights=missing[0] in self.kept):
                lacks = "susceptibility"
            print(f"{self.variant.name}: epoch {missing[0]} has no {lacks}: training from the beginning")
        return 0, None

    def _recorded_metrics(self, epoch: int) -> dict[str, float]:
        """The mean curvature of the epoch and, if the corrupted samples are known, the AUROC of the mean over
        the epochs so far."""
        values = self.folder.trajectory.load("curvature", epoch).astype(np.float64)
        self._curvature_sum += values
        metrics = {"mean_curvature": float(values.mean())}
        if self.variant.flags_known:
            metrics["curvature_auroc_so_far"] = auroc(self.variant.corrupted, self._curvature_sum)
        return metrics

    def _finish(self, rows: Mapping[int, Mapping[str, float]], callbacks: Sequence[Callback]) -> None:
        """Write the metrics and the history, and move everything to the results."""
        last = self.epochs[-1]
        metrics = TrainMetrics(
            **{key: rows[last][key] for key in ("train_loss", "train_accuracy", "test_accuracy")},
            mean_curvature=float(self._curvature_sum.mean()) / len(self.recorded),
            recorded_epochs=len(self.recorded),
            susceptibility=rows[last].get("susceptibility"),
        )
        if self.susceptibility and metrics.susceptibility is None:
            print(
                f"{self.variant.name}: the susceptibility is left out: a step on random labels led to a loss "
                "that is not finite; a lower train.optimizer.lr may help"
            )
        write_json(metrics, self.results / METRICS)
        write_history(self.results / "history.csv", rows)
        self.folder.checkpoints.load(last, self.network.model)
        for callback in callbacks:
            callback.on_train_end(self.network.model)
        self.folder.publish(self.results)
        self.folder.remove()
