"""Stage `train`: train on one variant and record its trajectory, in results/train/NAME."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from safetensors.torch import save_model
from torch import nn

from memtrack.core import models, training
from memtrack.core.curvature import FiniteDifference
from memtrack.core.evaluation import auroc
from memtrack.core.recorder import EpochRecord, record_epoch
from memtrack.core.scores import SCORES
from memtrack.core.trajectory import Trajectory, write_array
from memtrack.io.dataset import PreparedData
from memtrack.io.loading import Batches
from memtrack.io.params import Params, mistake
from memtrack.io.paths import TRAIN_RESULTS, VARIANTS_FOLDER
from memtrack.io.problems import entry_point
from memtrack.io.progress import Progress
from memtrack.io.results import TrainMetrics, append_history
from memtrack.io.tracking import Run, data_hash
from memtrack.io.validation import nearest, write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_with_variant


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    Training(*load_with_variant(__doc__)).run()


class Training:
    """One training run: the network, its batches, and where its records go."""

    def __init__(self, params: Params, name: str) -> None:
        self.params = params
        self.folder = TRAIN_RESULTS / name
        self.data = PreparedData()
        self.variant = VariantData(name)
        train = params.train
        try:
            self.device = training.pick_device(train.device)
        except ValueError as error:
            raise mistake("train", "device", message=str(error)) from None
        torch.manual_seed(train.seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # a debugging aid that costs time
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.model = _model(params, self.data).to(self.device)
        self.estimator = FiniteDifference(
            params.curvature.perturbation_scale,
            params.curvature.probes,
            params.curvature.norm,
            params.curvature.seed,
        )
        self.recorded = params.recorded_epochs()
        self.curvature_sum: NDArray[np.float64] = np.zeros(len(self.variant.ids))

    def batches(self, split: str, labels: NDArray[np.int64], batch_size: int) -> Batches:
        """The batches of a split."""
        workers = self.params.train.workers
        return Batches(self.data, split, labels, batch_size=batch_size, device=self.device, workers=workers)

    def run(self) -> None:
        """Train, record and log."""
        train, given = self.params.train, self.variant.given
        run = self._open_run()  # before anything is removed: the store may not answer
        shutil.rmtree(self.folder, ignore_errors=True)  # DVC does so too before it runs a stage
        trajectory = Trajectory.create(self.folder / "trajectory", self.variant.ids)
        fit = self.batches("train", given, train.batch_size)
        sweep = self.batches("train", given, self.params.record.batch_size)
        test = self.batches("test", self.data.codes(self.data.split("test")["label"]), 512)
        optimizer = training.build_optimizer(self.model, **train.optimizer.model_dump())
        schedule = training.build_schedule(
            optimizer, epochs=train.epochs, steps=len(fit), **train.schedule.model_dump()
        )
        augment = training.Augmentation(train.augment.crop, train.augment.flip)

        write_record(run.record, self.folder / "run.json")
        run.file(trajectory.folder / "ids.npy", "curvature")
        progress = Progress(range(1, train.epochs + 1), f"train {self.variant.name}")
        try:
            for epoch in progress:
                torch.manual_seed(_epoch_seed(train.seed, epoch))
                draws = torch.Generator().manual_seed(_epoch_seed(train.seed, epoch))
                lr = optimizer.param_groups[0]["lr"]
                result = training.train_epoch(
                    self.model,
                    fit.shuffled(seed=train.seed, epoch=epoch),
                    optimizer,
                    schedule,
                    partial(augment, generator=draws),
                )
                metrics = {
                    "train_loss": result.loss,
                    "train_accuracy": result.accuracy,
                    "test_accuracy": training.accuracy(self.model, test),
                    "learning_rate": lr,
                }
                progress.note(loss=result.loss, accuracy=result.accuracy)
                if epoch in self.recorded:
                    record = record_epoch(self.model, sweep, self.estimator, epoch=epoch)
                    trajectory.write(epoch, record)
                    save_checkpoint(self.model, self.folder / "checkpoints", epoch)
                    metrics |= self._recorded_metrics(record)
                    run.file(trajectory.file("curvature", epoch), "curvature")
                append_history(self.folder / "history.csv", epoch, metrics)
                run.metrics(metrics, step=epoch)
            self._finish(run, trajectory, metrics)
        except BaseException as error:
            with suppress(MlflowException):  # the first error is the one to say
                run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise

    def _recorded_metrics(self, record: EpochRecord) -> dict[str, float]:
        """Mean curvature of the epoch and, where flags exist, the AUROC of the score so far."""
        values = record["curvature"].astype(np.float64)
        self.curvature_sum += values
        corrupted = self.variant.corrupted
        metrics = {"mean_curvature": float(values.mean())}
        if self.variant.flags_known:
            metrics["curvature_auroc_so_far"] = auroc(corrupted, self.curvature_sum)
        return metrics

    def _open_run(self) -> Run:
        params, name = self.params, self.variant.name
        sections = params.model_dump(mode="json", exclude={"variants", "tracking"})
        sections["variant"] = params.variants[name].model_dump(mode="json")
        run = Run.open(
            params.tracking, name, name=name, parameters=sections, tags={"source": params.data.kind}
        )
        folder = VARIANTS_FOLDER / name
        digest = data_hash(f"corrupt@{name}", folder) or "unrecorded"
        run.dataset(f"{params.data.kind}-{name}", digest, folder)
        return run

    def _finish(self, run: Run, trajectory: Trajectory, last: dict[str, float]) -> None:
        """The paper's memorization score, the metrics and the network."""
        score = SCORES["curvature"](trajectory).astype(np.float32)
        write_array(self.folder / "memorization.npy", score)
        run.file(self.folder / "memorization.npy", "scores")
        metrics = TrainMetrics(
            **{key: last[key] for key in ("train_loss", "train_accuracy", "test_accuracy")},
            mean_curvature=float(score.mean()),
            recorded_epochs=len(trajectory.epochs),
        )
        write_record(metrics, self.folder / "metrics.json")
        record = self.data.record
        run.model(self.model, record.shape, len(record.classes))
        run.end()


def save_checkpoint(model: nn.Module, folder: Path, epoch: int) -> None:
    """The network's weights after `epoch`, whole or not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"epoch_{epoch:04d}.safetensors"
    part = path.with_name(path.name + ".part")
    save_model(model, str(part))
    part.replace(path)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _model(params: Params, data: PreparedData) -> nn.Module:
    """The network, tried on two images of the data set's shape."""
    chosen, record = params.train.model, data.record
    where = ("train", "model")
    if chosen.kind == "torchvision" and chosen.name not in models.classifier_names():
        hint = nearest(chosen.name, models.classifier_names())
        raise mistake(*where, "name", message=f"torchvision has no classifier {chosen.name!r}{hint}")
    try:
        model = models.build(shape=record.shape, classes=len(record.classes), **chosen.model_dump())
        model.eval()(torch.zeros(2, *record.shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "x".join(map(str, record.shape))
        raise mistake(
            *where, message=f"cannot take images of {size} (channels x height x width): {error}"
        ) from None
    return model


if __name__ == "__main__":
    main()
