"""A search: what its trials measure, what chooses the winner and what confirms it."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from optuna.study import Study

from memtrack.core import scores, training
from memtrack.core.evaluation import samples_needed
from memtrack.core.recorder import LengthRecorder
from memtrack.core.scores import SCORES
from memtrack.core.trajectory import Trajectory
from memtrack.io.fingerprint import Fingerprint, code_hash
from memtrack.io.params import mistake
from memtrack.io.paths import TRAIN_RESULTS
from memtrack.io.problems import InputError, Problem
from memtrack.tune.measure import Measure, TrainedVariant
from memtrack.tune.options import Options, pick_variant
from memtrack.tune.space import Space
from memtrack.tune.study import StudyFacts, Worker, open_study

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
STEP = 100
"""So many samples of one kind, or a multiple, are drawn."""
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
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.space = Space(options.params, tune)
        if options.params.curvature.method == "hessian":
            text = "hessian has no h to search: choose forward or central"
            raise mistake("curvature", "method", message=text)
        self.trained = self._trained("variant", pick_variant(options))
        chosen, others = halves(self.trained.corrupted)
        held_out, self.where = self.trained, "the other half of the samples"
        if tune.held_out is not None:
            chosen = others = np.arange(len(self.trained.corrupted))
            held_out, self.where = self._trained("held_out", tune.held_out), f"the variant {tune.held_out}"
            if np.array_equal(held_out.variant.given, self.trained.variant.given):
                text = f"has the same labels as {self.trained.name}: it would confirm anything"
                raise options.mistake("held_out", text)
        for rows, trained in ((chosen, self.trained), (others, held_out)):
            if min(np.bincount(trained.corrupted[rows], minlength=2)) < 2:
                text = (
                    "has too few corrupted samples to search on" if tune.held_out is None else "is too small"
                )
                raise InputError([Problem(trained.variant.table, message=text)])
        identity = {
            **self.trained.causes, "weights": self.trained.weights, "halves": tune.held_out is None,
            "standard_error": tune.standard_error, "scores": code_hash([scores]), **self.space.fixed,
        }  # fmt: skip
        key = Fingerprint(causes=identity).key
        self.study: Study
        self.study, facts = open_study(
            options,
            self.space,
            tune.study or f"{self.trained.name}-{key[:6]}",
            key,
            measure=lambda: StudyFacts(*sweep_costs(self.trained), *self._counts(chosen)),
            worker=worker or 0,
        )
        rows = drawn(self.trained.corrupted, chosen, facts.samples)
        self.measure = Measure(self.trained, rows, cache_gb=tune.cache_gb)
        self.confirming = Measure(held_out, others, cache_gb=tune.cache_gb)

    def run_trials(self, deadline: float) -> Generator[None, None, None]:
        """Run trials in this process; yields after each."""
        return Worker(self.study, self.space, self.measure).work(self.options.tune.trials, deadline)

    def _trained(self, key: str, name: str) -> TrainedVariant:
        """The variant that a key of the search names."""
        if self.options.repro and self._worker is None:
            command = ["dvc", "repro", f"train@{name}"]
            print(f"running {' '.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
                message = f"`{' '.join(command)}` failed, as said above"
                raise InputError([Problem(Path("dvc.yaml"), message=message)])
        trained = TrainedVariant(self.options.params, name, self.space.all_epochs)
        if not trained.variant.flags_known:
            text = (
                f"no label of the variant {name} is known to be corrupted: choose one with known corruption"
            )
            raise self.options.mistake(key, text)
        return trained

    def _counts(self, rows: Rows) -> tuple[int, int]:
        """How many of `rows` trials see, corrupted and clean: those that the recorded curvature asks for."""
        corrupted, error = self.trained.corrupted[rows], self.options.tune.standard_error
        if error is None:
            return int(corrupted.sum()), int((~corrupted).sum())
        trajectory = Trajectory(TRAIN_RESULTS / self.trained.name / "trajectory")
        broken = [trajectory.damaged(epoch) for epoch in self.options.params.recorded_epochs()]
        if path := next((path for path in broken if path is not None), None):
            text = f"is damaged or not there: {self.trained.remedy}"
            raise InputError([Problem(path, message=text)])
        needed = samples_needed(corrupted, SCORES["curvature"](trajectory)[rows], error)
        first, second = (max(2, math.ceil(count / STEP)) * STEP for count in needed)
        return first, second


def halves(corrupted: Flags) -> tuple[Rows, Rows]:
    """The samples in two halves, each with half of the corrupted ones; a fixed draw."""
    generator = np.random.Generator(np.random.PCG64(0))
    parts = [generator.permutation(np.flatnonzero(flags)) for flags in (corrupted, ~corrupted)]
    first, second = (np.sort(np.concatenate([part[start::2] for part in parts])) for start in (0, 1))
    return first, second


def drawn(corrupted: Flags, rows: Rows, counts: tuple[int, int]) -> Rows:
    """So many corrupted and so many clean ones of `rows`, or all there are, drawn at random; a fixed draw."""
    generator = np.random.Generator(np.random.PCG64(1))
    groups = rows[corrupted[rows]], rows[~corrupted[rows]]
    parts = [generator.permutation(group)[:count] for group, count in zip(groups, counts, strict=True)]
    return np.sort(np.concatenate(parts))


def sweep_costs(trained: TrainedVariant) -> tuple[float, float]:
    """The time of the gradient and of one probe of all samples, in trainings without recording.

    Measured on some samples.
    """
    train, last = trained.params.train, trained.checkpoints.epochs[-1]
    fit = list(islice(trained.batches(train.batch_size), math.ceil(TIMED / train.batch_size)))
    swept = list(trained.batches(trained.sweep_batch_size, np.arange(sum(len(labels) for _, labels in fit))))
    trainer = training.Trainer(
        trained.model(last),
        optimizer=train.optimizer.model_dump(),
        schedule=train.schedule.model_dump(),
        augment=training.Augmentation(train.augment.crop, train.augment.flip),
        epochs=max(train.epochs, 5),
        steps=len(fit),
        seed=0,
    )
    model, estimator = trained.model(last), trained.estimator(1.0)

    def recorder() -> LengthRecorder:
        return LengthRecorder(model, swept, trained.params.record.precision, epoch=last, keep=True)

    kept = recorder()
    jobs: list[Callable[[], object]] = [
        lambda: trainer.run_epoch(1, fit), recorder, lambda: kept.lengths(estimator, [0]),
    ]  # fmt: skip
    seconds = np.array([[_seconds(job) for job in jobs] for _ in range(4)])[1:]  # the first round warms up
    _, base, probe = np.median(seconds / seconds[:, :1], axis=0) / train.epochs
    return float(f"{base:.2g}"), float(f"{probe:.2g}")


def _seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
