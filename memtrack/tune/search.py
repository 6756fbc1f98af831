"""A search: what its trials measure, what chooses the winner and what confirms it."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from optuna.study import Study

from memtrack.core import scores, training
from memtrack.core.ensemble import subset
from memtrack.core.evaluation import samples_needed
from memtrack.core.memorization import MEMORIZED, Counts
from memtrack.core.recorder import LengthRecorder
from memtrack.core.scores import SCORES
from memtrack.core.trajectory import Trajectory
from memtrack.io.correctness import Correctness, DamagedNetworks
from memtrack.io.ensembles import NETWORKS
from memtrack.io.fingerprint import Fingerprint, code_hash, ensemble_fingerprint
from memtrack.io.params import mistake
from memtrack.io.paths import MEMORIZATION_RESULTS, TRAIN_RESULTS
from memtrack.io.problems import InputError, Problem
from memtrack.tune.measure import Measure, TrainedVariant
from memtrack.tune.options import Options, pick_variant
from memtrack.tune.space import Space
from memtrack.tune.study import StudyFacts, Worker, open_study
from memtrack.tune.truth import Corruption, Memorization, Truth

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]
STEP = 100
"""So many samples of one kind, or a multiple, are drawn."""
TIMED = 1024
"""So many samples are trained on and swept to find what recording costs."""


@dataclass(frozen=True)
class Side:
    """Some samples of a variant (their rows), and what their scores are held against."""

    trained: TrainedVariant
    rows: Rows
    truth: Truth


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
        self.trained = self._trained(pick_variant(options))
        asks_memorization = tune.objectives[0] == "memorization"
        chosen, others, self.where = self._memorization() if asks_memorization else self._corruption()
        for side in (chosen, others):
            if min(np.bincount(side.truth.flags, minlength=2)) < 2:
                if asks_memorization:
                    text = (
                        f"{self.trained.name} has too few samples of memorization above {MEMORIZED} to "
                        "search on: choose one with more, or more memorization.models"
                    )
                    raise options.mistake("variant", text)
                text = (
                    "has too few corrupted samples to search on" if tune.held_out is None else "is too small"
                )
                raise InputError([Problem(side.trained.variant.table, message=text)])
        identity = {
            **self.trained.causes, "weights": self.trained.weights, "scores": code_hash([scores]),
            **self.space.fixed,
        }  # fmt: skip
        if isinstance(chosen.truth, Memorization):
            identity["memorization"] = hashlib.sha256(chosen.truth.values.tobytes()).hexdigest()
        else:
            identity |= {"halves": tune.held_out is None, "standard_error": tune.standard_error}
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
        some = drawn(chosen.truth.flags, facts.samples)
        self.measure = Measure(self.trained, chosen.rows[some], chosen.truth.of(some), cache_gb=tune.cache_gb)
        self.confirming = Measure(others.trained, others.rows, others.truth, cache_gb=tune.cache_gb)

    def run_trials(self, deadline: float) -> Generator[None, None, None]:
        """Run trials in this process; yields after each."""
        return Worker(self.study, self.space, self.measure).work(self.options.tune.trials, deadline)

    def _corruption(self) -> tuple[Side, Side, str]:
        """What the winner is chosen on, and what it is confirmed on, which is also said in words."""
        self._wants_corruption("variant", self.trained)
        tune, corrupted = self.options.tune, self.trained.corrupted
        if tune.held_out is None:
            sides = [Side(self.trained, rows, Corruption(corrupted[rows])) for rows in halves(corrupted)]
            return sides[0], sides[1], "the other half of the samples"
        held_out = self._trained(tune.held_out)
        self._wants_corruption("held_out", held_out)
        if np.array_equal(held_out.variant.given, self.trained.variant.given):
            text = f"has the same labels as {self.trained.name}: it would confirm anything"
            raise self.options.mistake("held_out", text)
        rows = np.arange(len(corrupted))
        return (
            Side(self.trained, rows, Corruption(corrupted)),
            Side(held_out, np.arange(len(held_out.corrupted)), Corruption(held_out.corrupted)),
            f"the variant {tune.held_out}",
        )

    def _memorization(self) -> tuple[Side, Side, str]:
        """The same with memorization: half of the samples, by half of the networks, and the other halves."""
        for key in self.options.overridden & {"held_out", "standard_error"}:
            if getattr(self.options.tune, key) is not None:
                text = "says nothing where objectives is [memorization]: leave it out"
                raise self.options.mistake(key, text)
        trained, options = self.trained, self.options.params.memorization
        if trained.name in options.variants:
            self._reproduce(f"memorization@{trained.name}")
        folder = MEMORIZATION_RESULTS / trained.name
        samples = len(trained.variant.ids), len(trained.data.split("test"))
        now = ensemble_fingerprint(
            self.options.params, trained.data, trained.variant, trained.device, share=options.share
        )
        networks = Correctness(now.key, samples)
        if (folder / NETWORKS).exists():
            with suppress(DamagedNetworks):
                networks.read(folder / NETWORKS)
        if not len(networks):
            command = f"`dvc repro memorization@{trained.name}`"
            text = f"is damaged, or not estimated as params.yaml says: run {command}"
            if trained.name not in options.variants:
                text += f", with {trained.name} in memorization.variants"
            raise InputError([Problem(folder, message=text)])
        members = partial(subset, samples[0], share=options.share, seed=options.seed)
        estimates = []
        for start in (0, 1):
            counts = Counts(samples[0])
            networks.count(counts, range(start, len(networks), 2), members)
            estimates.append(counts.memorization)
        known = np.flatnonzero(~np.isnan(estimates).any(axis=0))
        memorized = (np.mean(estimates, axis=0) > MEMORIZED)[known]
        first, second = (
            Side(trained, known[rows], Memorization(estimate[known[rows]]))
            for rows, estimate in zip(halves(memorized), estimates, strict=True)
        )
        return first, second, "the other half of the samples, by the other half of the networks"

    def _trained(self, name: str) -> TrainedVariant:
        """A variant that the search names."""
        self._reproduce(f"train@{name}")
        return TrainedVariant(self.options.params, name, self.space.all_epochs)

    def _reproduce(self, stage: str) -> None:
        """`dvc repro`, where it is asked for."""
        if self.options.repro and self._worker is None:
            command = ["dvc", "repro", stage]
            print(f"running {' '.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
                message = f"`{' '.join(command)}` failed, as said above"
                raise InputError([Problem(Path("dvc.yaml"), message=message)])

    def _wants_corruption(self, key: str, trained: TrainedVariant) -> None:
        if not trained.variant.flags_known:
            text = (
                f"no label of the variant {trained.name} is known to be corrupted: choose one with known "
                "corruption"
            )
            raise self.options.mistake(key, text)

    def _counts(self, side: Side) -> tuple[int, int]:
        """How many samples trials see, to be found and others: those that the recorded curvature asks for."""
        flags, error = side.truth.flags, self.options.tune.standard_error
        if error is None or isinstance(side.truth, Memorization):
            return int(flags.sum()), int((~flags).sum())
        trajectory = Trajectory(TRAIN_RESULTS / self.trained.name / "trajectory")
        broken = [trajectory.damaged(epoch) for epoch in self.options.params.recorded_epochs()]
        if path := next((path for path in broken if path is not None), None):
            text = f"is damaged or not there: {self.trained.remedy}"
            raise InputError([Problem(path, message=text)])
        needed = samples_needed(flags, SCORES["curvature"](trajectory)[side.rows], error)
        first, second = (max(2, math.ceil(count / STEP)) * STEP for count in needed)
        return first, second


def halves(flags: Flags) -> tuple[Rows, Rows]:
    """The samples in two halves, each with half of those to be found; a fixed draw."""
    generator = np.random.Generator(np.random.PCG64(0))
    parts = [generator.permutation(np.flatnonzero(group)) for group in (flags, ~flags)]
    first, second = (np.sort(np.concatenate([part[start::2] for part in parts])) for start in (0, 1))
    return first, second


def drawn(flags: Flags, counts: tuple[int, int]) -> Rows:
    """So many of those to be found and of the others, or all there are, drawn at random; a fixed draw."""
    generator = np.random.Generator(np.random.PCG64(1))
    groups = np.flatnonzero(flags), np.flatnonzero(~flags)
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
