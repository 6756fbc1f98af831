"""The cost of recording, in units of a training without recording."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from memtrack.core.recording.recorder import ProbeNormRecorder
from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.trainer import Trainer
from memtrack.runs.fitting import robust_options
from memtrack.tune.trained_variant import TrainedVariant

TIMED = 1024
"""The number of samples that are trained on and swept to measure the cost."""


def sweep_costs(trained: TrainedVariant) -> tuple[float, float]:
    """The time for the gradient and for one probe of all samples, in trainings without recording.

    It is measured on some of the samples.
    """
    train, last = trained.params.train, trained.checkpoints.epochs[-1]
    batches = trained.batches(train.batch_size)
    fit = list(islice(batches, math.ceil(TIMED / train.batch_size)))
    rows = batches.cuts()[: len(fit)]
    swept = list(trained.batches(trained.sweep_batch_size, np.arange(sum(len(labels) for _, labels in fit))))
    trainer = Trainer(
        trained.model(last),
        optimizer=train.optimizer.model_dump(),
        schedule=train.schedule.model_dump(),
        augment=Augmentation(train.augment.crop, train.augment.flip),
        epochs=max(train.epochs, 5),
        steps=len(fit),
        seed=0,
        **robust_options(train, len(trained.variant.ids), len(trained.data.info.classes)),
    )
    model, estimator = trained.model(last), trained.estimator(1.0)

    def recorder() -> ProbeNormRecorder:
        return ProbeNormRecorder(model, swept, trained.precision, epoch=last, keep=True)

    kept = recorder()
    jobs: list[Callable[[], object]] = [
        lambda: trainer.run_epoch(1, fit, rows=rows), recorder, lambda: kept.probe_norms(estimator, [0]),
    ]  # fmt: skip
    seconds = np.array([[_seconds(job) for job in jobs] for _ in range(4)])[1:]  # the first round warms up
    _, base, probe = np.median(seconds / seconds[:, :1], axis=0) / train.epochs
    return float(f"{base:.2g}"), float(f"{probe:.2g}")


def _seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
