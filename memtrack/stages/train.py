"""Stage `train`: train on one variant and record its trajectory, in results/train/NAME.

What a finished or an interrupted run of the same training has left is used: epochs that were trained
are not trained again, and epochs that were recorded with the same settings are not recorded again.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from memtrack.core import training
from memtrack.core.curvature import ESTIMATORS
from memtrack.core.evaluation import auroc
from memtrack.core.files import whole_file
from memtrack.core.gradient_variance import standardized, variance_of_gradients
from memtrack.core.recorder import fastest_batch_size, record_epoch
from memtrack.core.scores import SCORES
from memtrack.core.trajectory import write_array
from memtrack.io.checkpoints import EpochMetrics
from memtrack.io.dataset import PreparedData
from memtrack.io.fingerprint import Fingerprint, recording_fingerprint, training_fingerprint
from memtrack.io.loading import Batches, variant_batches
from memtrack.io.networks import chosen_device, network
from memtrack.io.params import UNLOGGED, Params
from memtrack.io.paths import TRAIN_RESULTS
from memtrack.io.problems import InputError, entry_point
from memtrack.io.progress import Progress
from memtrack.io.results import TrainMetrics, write_history
from memtrack.io.store import RunRecord
from memtrack.io.tracking import Run, dataset
from memtrack.io.tracking_uri import tracking_uri
from memtrack.io.validation import read_record, write_record
from memtrack.io.variants import VariantData
from memtrack.io.workplace import Workplace
from memtrack.stages import load_with_variant

MOMENTS = 2**27
"""The moments of so many numbers of images are in memory at once (512 MiB for each of two)."""
TRIED = 256
"""So many samples per thread are swept to find the fastest batch size."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    train(params, name, TRAIN_RESULTS / name)


def train(params: Params, name: str, results: Path, *, run_name: str | None = None) -> None:
    """Train on the variant `name`, as far as it is not done; all of it to `results`."""
    data = PreparedData()
    variant = VariantData(name, data)
    device = chosen_device(params)
    fingerprint = training_fingerprint(params, data, variant, device)
    recording = recording_fingerprint(params)
    with Workplace.claimed(name, fingerprint, recording, variant.ids) as place:
        Training(params, data, variant, device, place, results, run_name or name).run()


class Training:
    """One training: every epoch is trained, kept, recorded and logged, unless it was before."""

    def __init__(
        self,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        device: torch.device,
        place: Workplace,
        results: Path,
        run_name: str,
    ) -> None:
        self.params, self.data, self.variant = params, data, variant
        self.device, self.place = device, place
        self.results, self.run_name = results, run_name
        self.recorded = params.recorded_epochs()
        self.epochs = range(1, params.train.epochs + 1)
        every_epoch = params.record.checkpoints == "all"
        self.kept = set(self.epochs) if every_epoch else {*self.recorded, params.train.epochs}
        options = params.curvature
        self.estimator = ESTIMATORS[options.method](
            options.perturbation_scale, options.probes, options.norm, options.seed, params.record.precision
        )
        torch.manual_seed(params.train.seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # a debugging aid that costs time
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.model = network(params.train.model, data.record).to(device)
        self.swept = cast(nn.Module, torch.compile(self.model)) if params.record.compile else self.model
        self.results.mkdir(parents=True, exist_ok=True)
        self.curvature_sum: NDArray[np.float64] = np.zeros(len(variant.ids))

    def run(self) -> None:
        """Train, record and log what is not there yet, then bring it all to results/."""
        place = self.place
        place.adopt(self.results)
        place.repair()
        place.keep_only(self.recorded, self.kept)
        for other in place.others():
            print(f"{other}: an unfinished training with other settings; it stays until you remove it")
        run = self._open_run()  # before anything is computed: its settings may be wrong
        with run.ended_with_error():
            rows = self._epochs(run)
            self._finish(run, rows)

    def _epochs(self, run: Run) -> dict[int, dict[str, float]]:
        """Every epoch, trained and recorded now or before; for each its metrics."""
        place, train = self.place, self.params.train
        missing = [
            epoch for epoch in self.epochs if place.checkpoints.missing(epoch, weights=epoch in self.kept)
        ]
        fit = self._batches(train.batch_size)
        held = self.data.split("test")
        test = Batches(
            self.data,
            held["image"].tolist(),
            self.data.codes(held["label"]),
            batch_size=512,
            device=self.device,
            workers=train.workers,
            change=self.variant.test_pixels,
        )
        trainer = training.Trainer(
            self.model,
            optimizer=train.optimizer.model_dump(),
            schedule=train.schedule.model_dump(),
            augment=training.Augmentation(train.augment.crop, train.augment.flip),
            epochs=train.epochs,
            steps=len(fit),
            seed=train.seed,
        )
        start, state = self._start(missing)
        rows: dict[int, dict[str, float]] = {}
        progress = Progress(self.epochs, f"train {self.variant.name}")
        for epoch in progress:
            to_train = epoch > start and epoch <= max(missing, default=0)
            if to_train:
                if epoch == start + 1 and state is not None:
                    trainer.load_state(state)
                self._train(trainer, fit, test, epoch)
            metrics = place.checkpoints.metrics(epoch).model_dump(exclude={"weights"})
            progress.note(loss=metrics["train_loss"], accuracy=metrics["train_accuracy"])
            files = {}
            if epoch in self.recorded:
                if epoch not in place.trajectory.epochs:
                    if not to_train:
                        place.checkpoints.load(epoch, self.model)
                    self._record(epoch)
                metrics |= self._recorded_metrics(epoch)
                array = place.trajectory.file("curvature", epoch)
                files = {f"curvature/{array.name}": array}
            if not run.logged(epoch):
                run.log(files=files, metrics=metrics, step=epoch)
            rows[epoch] = metrics
        return rows

    def _start(self, missing: list[int]) -> tuple[int, dict[str, object] | None]:
        """The epoch after which training goes on, and its state; 0 is the beginning."""
        states = self.place.states
        if not missing:
            print(f"{self.variant.name}: was trained before with these settings: recording alone")
            return self.epochs[-1], None
        for epoch in states.epochs():
            if epoch < missing[0]:
                state = states.read(epoch, self.device)
                if state is not None:
                    print(f"{self.variant.name}: going on after epoch {epoch}")
                    return epoch, state
                print(f"{states.file(epoch)}: is damaged: going on from an earlier epoch")
            states.discard(epoch)
        if self.place.checkpoints.epochs:
            print(f"{self.variant.name}: epoch {missing[0]} has no checkpoint: training from the beginning")
        return 0, None

    def _train(self, trainer: training.Trainer, fit: Batches, test: Batches, epoch: int) -> None:
        rate = trainer.learning_rate
        result = trainer.run_epoch(epoch, fit.shuffled(seed=self.params.train.seed, epoch=epoch))
        metrics = EpochMetrics(
            train_loss=result.loss,
            train_accuracy=result.accuracy,
            test_accuracy=training.accuracy(self.model, test),
            learning_rate=rate,
        )
        self.place.checkpoints.write(epoch, metrics, self.model if epoch in self.kept else None)
        self.place.states.write(epoch, trainer.state())

    def _record(self, epoch: int) -> None:
        sweep = self._batches(self._batch_size())
        with closing(record_epoch(self.swept, sweep, self.estimator, epoch=epoch)) as parts:
            bar = Progress(parts, f"record epoch {epoch}", total=len(sweep), inner=True)
            self.place.trajectory.write(epoch, bar)

    def _batch_size(self) -> int:
        """Of the sweep; where it is to be measured, once and for all."""
        asked, file = self.params.record.batch_size, self.place.batch_size
        if asked is not None:
            return asked
        if not (file.exists() and file.read_text().isdigit()):
            count = TRIED * (torch.get_num_threads() if self.device.type == "cpu" else 16)
            tried = next(iter(self._batches(count)))
            with whole_file(file) as opened:
                opened.write(str(fastest_batch_size(self.swept, *tried, self.estimator)).encode())
        return int(file.read_text())

    def _gradient_variance(self) -> NDArray[np.float32]:
        """VoG of the recorded epochs, as many samples at a time as their moments fit into memory."""
        given, size = self.variant.given, self._batch_size()
        at_once = max(size, MOMENTS // int(np.prod(self.data.record.shape)))
        starts = range(0, len(given), at_once)

        def models(bar: Progress[int]) -> Iterator[nn.Module]:
            for epoch in bar:
                self.place.checkpoints.load(epoch, self.model)
                yield self.model

        found = []
        for number, start in enumerate(starts, start=1):
            rows = np.arange(start, min(start + at_once, len(given)))
            text = f"variance of gradients {number}/{len(starts)}"
            walk = partial(models, Progress(self.recorded, text))
            found.append(variance_of_gradients(walk, self._batches(size, rows)).numpy())
        return standardized(np.concatenate(found), given)

    def _batches(self, batch_size: int, rows: NDArray[np.int64] | None = None) -> Batches:
        """The training samples, or some of them."""
        return variant_batches(
            self.data,
            self.variant,
            batch_size=batch_size,
            device=self.device,
            workers=self.params.train.workers,
            rows=rows,
        )

    def _recorded_metrics(self, epoch: int) -> dict[str, float]:
        """Mean curvature of the epoch and, where flags exist, the AUROC of the score so far."""
        values = np.load(self.place.trajectory.file("curvature", epoch)).astype(np.float64)
        self.curvature_sum += values
        metrics = {"mean_curvature": float(values.mean())}
        if self.variant.flags_known:
            metrics["curvature_auroc_so_far"] = auroc(self.variant.corrupted, self.curvature_sum)
        return metrics

    def _open_run(self) -> Run:
        """The run of an interrupted process with the same parameters on the same store, or a new one."""
        params, name = self.params, self.variant.name
        sections = params.model_dump(mode="json", exclude=UNLOGGED)
        sections["variant"] = params.variants[name].model_dump(mode="json")
        store = [tracking_uri(params.tracking), params.tracking.experiment]
        told = Fingerprint(causes={"recording": self.place.recording.key, "told": sections, "store": store})
        for other in self.place.other_runs(told):
            if record := _run_record(other):
                print(f"{name}: other parameters or another store: the MLflow run begun before is closed")
                Run(record).abandon()
            other.unlink()
        self.known = self.place.run(told)
        if record := _run_record(self.known):
            return Run.resume(record)
        # written before the run is opened: a process that is killed in between leaves no second run
        opening = self.known.with_suffix(".opening")
        record = _run_record(opening)
        if record is None:
            record = RunRecord(key=uuid.uuid4().hex, tracking_uri=store[0], experiment=store[1], variant=name)
            write_record(record, opening)
        run = Run.open(
            params.tracking,
            name,
            name=self.run_name,
            parameters=sections,
            tags={"source": params.data.kind},
            key=record.key,
        )
        ids = self.place.trajectory.folder / "ids.npy"
        run.log(dataset=dataset(params.data.kind, name), files={"curvature/ids.npy": ids})
        opening.replace(self.known)
        return run

    def _finish(self, run: Run, rows: dict[int, dict[str, float]]) -> None:
        """The paper's memorization score, the metrics and the network; all of it to results/."""
        place, results, last = self.place, self.results, rows[self.epochs[-1]]
        if self.params.record.gradient_variance:
            place.trajectory.write_across("variance_of_gradients", self._gradient_variance())
        score = SCORES["curvature"](place.trajectory).astype(np.float32)
        write_array(results / "memorization.npy", score)
        metrics = TrainMetrics(
            **{key: last[key] for key in ("train_loss", "train_accuracy", "test_accuracy")},
            mean_curvature=float(score.mean()),
            recorded_epochs=len(self.recorded),
        )
        write_record(metrics, results / "metrics.json")
        write_history(results / "history.csv", rows)
        shutil.copy2(self.known, results / "run.json")
        run.log(files={"scores/memorization.npy": results / "memorization.npy"})
        place.checkpoints.load(self.epochs[-1], self.model)
        run.model(self.model, self.data.record.shape, len(self.data.record.classes))
        run.end()
        place.publish(results)
        place.remove()


def _run_record(path: Path) -> RunRecord | None:
    """The record of a run, or None where it is not there or damaged."""
    if not path.exists():
        return None
    try:
        return read_record(RunRecord, path)
    except InputError:
        print(f"{path}: is damaged: a new MLflow run is opened")
        return None


if __name__ == "__main__":
    main()
