"""A search: what its trials measure, what chooses the winner and what confirms it."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Generator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study

from memtrack.core import training
from memtrack.core.evaluation import samples_needed
from memtrack.core.recorder import LengthRecorder
from memtrack.core.scores import SCORES
from memtrack.core.trajectory import Trajectory
from memtrack.io.fingerprint import Fingerprint
from memtrack.io.paths import TRAIN_RESULTS
from memtrack.io.problems import InputError, Problem
from memtrack.tune.measure import Measure, TrainedVariant
from memtrack.tune.options import Options, pick_variant
from memtrack.tune.space import Space
from memtrack.tune.study import Worker, open_study

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
STEP = 100
TIMED = 1024
"""So many samples are trained on and swept to find what recording costs."""


class Search:
    """A search, ready to run.

    Attributes:
        study: in Optuna.
        measure: what trials see: some of the samples that choose.
        confirming: what no trial sees; the winner is confirmed on it. `where` says what it is.
    """

    def __init__(self, options: Options, worker: int | None = None) -> None:
        """`worker`: the number of this process among those that share the search, or None."""
        self.options, self._worker = options, worker
        tune = options.tune
        self.space = Space(options.params, tune)
        self.trained = self._trained(pick_variant(options))
        chosen, others = halves(self.trained.corrupted)
        held_out, self.where = self.trained, "the other half of the samples"
        if tune.held_out is not None:
            chosen = others = np.arange(len(self.trained.corrupted))
            held_out, self.where = self._trained(tune.held_out), f"the variant {tune.held_out}"
        if tune.standard_error is not None:
            chosen = subset(self.trained, chosen, tune.standard_error)
        self.measure = Measure(self.trained, chosen, cache_gb=tune.cache_gb)
        self.confirming = Measure(held_out, others, cache_gb=tune.cache_gb)
        measured = {"lengths": self.measure.fingerprint.key, **self.space.fixed}
        key = Fingerprint(causes=measured).key
        self.study: Study = open_study(
            self.space,
            tune.study or f"{self.trained.name}-{key[:6]}",
            key,
            cost=lambda: gradient_cost(self.trained),
            seed=self._sampler_seed,
        )

    def run_trials(self, deadline: float) -> Generator[None, None, None]:
        """Run trials in this process; yields after each."""
        return Worker(self.study, self.space, self.measure).work(self.options.tune.trials, deadline)

    def _trained(self, name: str) -> TrainedVariant:
        if self.options.repro and self._worker is None:
            command = ["dvc", "repro", f"train@{name}"]
            print(f"running {' '.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
                message = f"`{' '.join(command)}` failed, as said above"
                raise InputError([Problem(Path("dvc.yaml"), message=message)])
        return TrainedVariant(self.options.params, name, self.space.all_epochs)

    def _sampler_seed(self, trials: int) -> int:
        """Another one for each worker, and each time that a study is gone on with."""
        parts = [self.options.tune.seed, self._worker or 0, trials]
        return int(np.random.SeedSequence(parts).generate_state(1)[0])


def halves(corrupted: Flags) -> tuple[Rows, Rows]:
    """The samples in two halves, each with half of the corrupted ones; a fixed draw."""
    generator = np.random.Generator(np.random.PCG64(0))
    parts = [generator.permutation(np.flatnonzero(flags)) for flags in (corrupted, ~corrupted)]
    first, second = (np.sort(np.concatenate([part[start::2] for part in parts])) for start in (0, 1))
    return first, second


def subset(trained: TrainedVariant, rows: Rows, standard_error: float) -> Rows:
    """Of `rows` as many corrupted and clean samples, drawn at random, as `samples_needed` says.

    In whole hundreds (`STEP`), of each kind at least two: what is drawn is still the same when the scores
    have changed a little.
    """
    trajectory = Trajectory(TRAIN_RESULTS / trained.name / "trajectory")
    corrupted = trained.corrupted[rows]
    needed = samples_needed(corrupted, SCORES["curvature"](trajectory)[rows], standard_error)
    generator = np.random.Generator(np.random.PCG64(1))
    drawn = [
        generator.permutation(kind)[: max(2, math.ceil(count / STEP)) * STEP]
        for kind, count in zip((rows[corrupted], rows[~corrupted]), needed, strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def gradient_cost(trained: TrainedVariant) -> float:
    """The time of one gradient of all samples, in trainings without recording; measured on some samples."""
    train, epochs = trained.params.train, trained.params.train.epochs
    batches = list(islice(trained.batches(train.batch_size), -(-TIMED // train.batch_size)))
    model = trained.model(trained.checkpoints.epochs[-1])
    trainer = training.Trainer(
        model,
        optimizer=train.optimizer.model_dump(),
        schedule=train.schedule.model_dump(),
        augment=training.Augmentation(train.augment.crop, train.augment.flip),
        epochs=max(epochs, 5),
        steps=len(batches),
        seed=0,
    )
    swept = Measure(trained, np.arange(sum(len(labels) for _, labels in batches)), cache_gb=0)
    last = trained.checkpoints.epochs[-1]
    recorder = LengthRecorder(
        trained.model(last), swept.samples(), trained.params.record.precision, epoch=last, keep=True
    )

    def sweep() -> None:
        recorder.lengths(trained.estimator(1.0), [0])

    def seconds(job: object) -> float:
        start = time.perf_counter()
        job()  # type: ignore[operator]
        return time.perf_counter() - start

    sweep()
    trainer.run_epoch(1, batches)
    ratios = [seconds(sweep) / seconds(lambda: trainer.run_epoch(2, batches)) for _ in range(3)]
    return float(f"{np.median(ratios) / epochs:.2g}")
