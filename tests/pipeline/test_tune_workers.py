"""A search by several processes, some of which are killed: no trial is lost, none counts twice."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from pages import command
from project_clone import CODE, NO_MODEL, NO_STORE, Project

TUNE = ("python", "-m", "memtrack.tune")
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
DIES = """
import os, signal
from memtrack.tune.evaluator import SettingEvaluator
curvature = SettingEvaluator.curvature
def die_or_measure(*arguments):
    try:
        os.unlink("dies")
    except FileNotFoundError:
        return curvature(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
SettingEvaluator.curvature = die_or_measure
"""
"""Code with which one worker is killed in the middle of a trial once there is a file `dies`."""
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(scope="module")
def trained(project: Project) -> Project:
    """Trained on the variant with known corruption; a trial takes half a second, and none finds the lengths
    that another one has measured."""
    project.environment[CODE] += NO_MODEL + NO_STORE + DIES
    project.environment[CODE] += "import memtrack.tune.study\nmemtrack.tune.study.HEARTBEAT = 1\n"
    project.edit("train.epochs", 3)
    project.edit("tune", {
        "probes": {"low": 40, "high": 41}, "perturbation_scale": {"low": 0.01, "high": 0.03},
        "pruner": "none", "cache_gb": 1e-9,
    })  # fmt: skip
    project.stage("prepare")
    project.stage("corrupt", "noisy")
    project.stage("train", "noisy")
    return project


class Search:
    """A running `memtrack tune`."""

    def __init__(self, project: Project, study: str, storage: str | None, *started: str) -> None:
        self.study = study
        self.loaded: optuna.Study | None = None
        self.storage = storage or f"sqlite:///{project.folder}/.memtrack/tune/study.db"
        project.place_study()
        self.output = Path(project.folder, f"{study}.txt")
        with self.output.open("wb") as file:
            self.process = project.start(*started, "--study", study, output=file)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Of the study, once it is there."""
        if self.loaded is None:
            try:
                self.loaded = optuna.load_study(study_name=self.study, storage=self.storage)
            except Exception:
                return []
        return self.loaded.trials

    def wait_until(self, states: dict[TrialState, int]) -> None:
        """Until at least so many trials are in each of the states."""
        end = time.monotonic() + 120
        counted: Counter[TrialState] = Counter()
        while any(counted[state] < count for state, count in states.items()):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, f"waited in vain: {counted}"
            time.sleep(0.2)
            counted = Counter(trial.state for trial in self.trials)

    def end(self) -> str:
        """Wait for it; its output."""
        assert self.process.wait(timeout=200) == 0, self.output.read_text()
        return self.output.read_text()


def check(trials: list[FrozenTrial], count: int) -> None:
    """`count` finished trials; each that failed was run again with the same parameters, once."""
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.state for trial in trials} <= {*DONE, TrialState.FAIL}
    assert sum(trial.state in DONE for trial in trials) == count
    again = [trial for trial in trials
             if RetryHeartbeatStaleTrialCallback.retried_trial_number(trial) is not None]  # fmt: skip
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    assert failed
    assert sorted(RetryHeartbeatStaleTrialCallback.retry_history(trial)[-1] for trial in again) == [
        trial.number for trial in failed
    ]
    for trial in again:
        first = trials[RetryHeartbeatStaleTrialCallback.retry_history(trial)[-1]]
        assert first.params.items() <= trial.params.items()  # none where it was killed before it chose


def workers_of(search: Search, project: Project) -> list[psutil.Process]:
    """The processes in the folder of the project that another process there has started, but the search."""
    there = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(project.folder):
                there[process.pid] = process
    return [process for process in there.values() if process.ppid() in there.keys() - {search.process.pid}]


@pytest.mark.parametrize("kind", ["default", "postgres"])
def test_three_workers_one_of_which_is_killed(
    kind: str, trained: Project, request: pytest.FixtureRequest
) -> None:
    if kind == "postgres":
        storage = request.getfixturevalue("postgres")("searches")
        address = {"postgresql_psycopg___user_password_host_database": storage}
        started = [*command("memtrack tune --storage", "docs/tune.md", **address), "--workers", "3"]
    else:
        storage, started = None, command("memtrack tune --workers", "docs/tune.md", **{"4": "3"})
    search = Search(trained, f"three-{kind}", storage, *started, "--trials", "6")
    search.wait_until({TrialState.RUNNING: 3})
    assert len(workers_of(search, trained)) == 3
    Path(trained.folder, "dies").touch()
    assert "ended with status -9; the others went on" in search.end()
    check(search.trials, 6)
    values: dict[tuple[object, ...], float | None] = {}
    for trial in search.trials:
        if trial.state is TrialState.COMPLETE:
            assert values.setdefault(tuple(trial.params.items()), trial.value) == trial.value


def test_a_search_that_is_interrupted_goes_on(trained: Project) -> None:
    before: list[FrozenTrial] = []
    for number, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        search = Search(trained, "interrupted", None, *TUNE, "--trials", "100")
        search.wait_until({TrialState.COMPLETE: len(before) + 2, TrialState.RUNNING: 1})
        search.process.send_signal(number)
        assert search.process.wait(timeout=60) == status
        before = [trial for trial in search.trials if trial.state is TrialState.COMPLETE]
    count = len(before) + 2
    search = Search(trained, "interrupted", None, *TUNE, "--trials", str(count))
    search.end()
    check(search.trials, count)
    for trial in before:
        after = search.trials[trial.number]
        assert (after.params, after.value) == (trial.params, trial.value)
