"""A search: a plan, its study in Optuna, and the evaluators that choose and confirm the winner."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.study import Study

from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import TRAIN_RESULTS
from memtrack.core.evaluation.detection import samples_needed
from memtrack.core.scores import Need, compute
from memtrack.core.training.devices import compute_deterministically
from memtrack.data.manifest import KeptFolder
from memtrack.runs.trained import recorded_trajectory
from memtrack.tune.costs import sweep_costs
from memtrack.tune.evaluator import SettingEvaluator
from memtrack.tune.options import Options
from memtrack.tune.plan import Flags, Plan, Rows, Side, make_plan, needed_stages
from memtrack.tune.space import Space
from memtrack.tune.study import StudyFacts, open_study
from memtrack.tune.trials import Worker
from memtrack.tune.truth import Memorization

STEP = 100
"""The number of drawn samples of a kind is rounded up to a multiple of this."""


@dataclass(frozen=True)
class Search:
    """A search, ready to run.

    Attributes:
        study: the study in Optuna.
        choosing: evaluates settings on the samples that trials see, which are drawn from those that choose.
        confirming: evaluates settings on the samples that no trial sees.
    """

    plan: Plan
    study: Study
    choosing: SettingEvaluator
    confirming: SettingEvaluator

    @property
    def options(self) -> Options:
        """The options of the plan."""
        return self.plan.options

    @property
    def space(self) -> Space:
        """The search space of the plan."""
        return self.plan.space

    def run_trials(self, deadline: float) -> Generator[None, None, None]:
        """Run trials in this process; yields after each trial."""
        return Worker(self.study, self.space, self.choosing).work(self.options.tune.trials, deadline)


def open_search(options: Options, worker: int | None = None) -> Search:
    """Make the plan of a search and open its study.

    Args:
        worker: the number of this process among those that share the search, or None for the process that
            starts them. That process runs `dvc repro` first, if the options ask for it.

    Raises:
        InputError: if the options do not fit what is trained, or if the storage cannot be used.
    """
    compute_deterministically()
    if options.repro and worker is None:
        reproduce(needed_stages(options))
    plan = make_plan(options)

    def facts() -> StudyFacts:
        return StudyFacts(*sweep_costs(plan.trained), *_samples_seen(plan))

    study, known = open_study(
        options, plan.space, plan.study_name, plan.key, measure=facts, worker=worker or 0
    )
    side, gigabytes = plan.choosing, options.tune.cache_gb
    some = drawn(side.truth.flags, known.samples)
    seen = Side(side.trained, side.rows[some], side.truth.of(some))
    return Search(
        plan, study, *(SettingEvaluator(one, cache_gb=gigabytes) for one in (seen, plan.confirming))
    )


def reproduce(stages: Sequence[str]) -> None:
    """Run `dvc repro` for stages that a search reads."""
    for stage in stages:
        command = ["dvc", "repro", stage]
        print(f"running {' '.join(command)}", flush=True)
        if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            message = f"`{' '.join(command)}` failed: see its messages above"
            raise InputError([Problem(Path("dvc.yaml"), message=message)])


def _samples_seen(plan: Plan) -> tuple[int, int]:
    """How many samples to find, and how many others, trials see, according to the recorded curvature."""
    side, error = plan.choosing, plan.options.tune.standard_error
    flags = side.truth.flags
    if error is None or isinstance(side.truth, Memorization):
        return int(flags.sum()), int((~flags).sum())
    trained = plan.trained
    # after `--write` params.yaml has another h than the recording, which serves as well
    kept = KeptFolder(TRAIN_RESULTS / trained.name / "trajectory", trained.remedy)
    trajectory = recorded_trajectory(trained.params, trained.variant, kept)
    needed = samples_needed(flags, compute("curvature", {Need.EPOCHS: trajectory})[side.rows], error)
    first, second = (max(2, math.ceil(count / STEP)) * STEP for count in needed)
    return first, second


def drawn(flags: Flags, counts: tuple[int, int]) -> Rows:
    """Draw `counts` samples of those to find and of the others, or all if there are fewer; a fixed draw."""
    generator = np.random.Generator(np.random.PCG64(1))
    groups = np.flatnonzero(flags), np.flatnonzero(~flags)
    parts = [generator.permutation(group)[:count] for group, count in zip(groups, counts, strict=True)]
    return np.sort(np.concatenate(parts))
