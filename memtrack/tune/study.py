"""The study in Optuna's storage, and the loop of a worker."""

from __future__ import annotations

import socket
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import GridSampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from memtrack.core.evaluation import auroc
from memtrack.io.params import TuneParams, mistake
from memtrack.io.paths import project_root
from memtrack.tune.artifacts import attach
from memtrack.tune.measure import Measure, Setting
from memtrack.tune.space import Space, pruner, sampler

FOLDER = Path(".memtrack/tune")
DATABASE = "study.db"
FINGERPRINT, COST, KEY = "memtrack_fingerprint", "memtrack_gradient_cost", "memtrack_key"
HEARTBEAT = 5
"""Seconds; a trial whose worker has said nothing for three times as long is run again."""
RETRIES = 3
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
"""Of the AUROC, and of the cost where that is asked for."""
MACHINE = socket.gethostname()
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

warnings.filterwarnings("ignore", category=ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)


def storage_url(tune: TuneParams) -> str:
    """Optuna's storage: the one that is given, or a SQLite file in the project."""
    if tune.storage is not None:
        return tune.storage
    folder = project_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / DATABASE}"


def shown(url: str) -> str:
    """A storage's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def open_study(space: Space, name: str, fingerprint: str, *, cost: Callable[[], float],
               seed: Callable[[int], int]) -> Study:  # fmt: skip
    """The study `name`, made where it is not there, with the parameters in force as its first trial.

    Args:
        fingerprint: of what its trials measure.
        cost: measures the time of one gradient of all samples, in trainings.
        seed: of the sampler, given the number of trials that the study has.

    Raises:
        InputError: where the storage cannot be used, or holds a study of that name that measures
            something else.
    """
    url, tune = storage_url(space.tune), space.tune
    try:
        address = shown(url)
        study = _open(url, name, tune)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        reason = str(error).replace(url, "it")[:400]
        text = (
            "the storage cannot be used: give postgresql+psycopg://USER:PASSWORD@HOST/DATABASE (with "
            "`pip install 'memtrack[postgres]'`), sqlite:///FILE, or null for a file in the project. Optuna "
            f"says: {reason}"
        )
        raise mistake("tune", "storage", message=text) from None
    known = study.user_attrs.get(FINGERPRINT)
    if known is not None and known != fingerprint:
        text = (
            f"the study {name!r} in {address} was made with other checkpoints, samples, objectives or "
            "choices (norm, score, epochs): its trials cannot be compared with new ones; choose another name"
        )
        raise mistake("tune", "study", message=text)
    if known is None:
        study.set_user_attr(KEY, uuid.uuid4().hex)
        study.set_user_attr(COST, cost())
        study.set_user_attr(FINGERPRINT, fingerprint)
        first = space.values(space.default)
        if first is not None:
            study.enqueue_trial(first, skip_if_exists=True)
    study.sampler = sampler(space, seed(len(study.get_trials(deepcopy=False))))
    return study


def _open(url: str, name: str, tune: TuneParams, attempts: int = 3) -> Study:
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        storage = RDBStorage(
            url, engine_kwargs=arguments, heartbeat_interval=HEARTBEAT, grace_period=3 * HEARTBEAT,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(RETRIES),
        )  # fmt: skip
        return optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, pruner=pruner(tune),
            directions=DIRECTIONS[: len(tune.objectives)],
        )  # fmt: skip
    except SQLAlchemyError:
        if attempts == 1:
            raise
    time.sleep(1)  # another process may be making the tables just now
    return _open(url, name, tune, attempts - 1)


def cost_of(setting: Setting, study: Study) -> float:
    """The time of training and recording, in trainings without recording."""
    gradients = len(setting.epochs) * (setting.probes + 1)
    return 1 + gradients * float(study.user_attrs[COST])


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were run to their end or pruned."""
    return study.get_trials(deepcopy=False, states=DONE)


class Worker:
    """Runs trials of a study until it has as many as asked for."""

    def __init__(self, study: Study, space: Space, measure: Measure) -> None:
        self.study, self.space, self.measure = study, space, measure
        folder = project_root() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock")

    def work(self, trials: int, deadline: float) -> Generator[None, None, None]:
        """Begin trials until the study has `trials` finished ones or time.time() is past `deadline`.

        A trial whose worker was killed is failed and run again, as long as one worker is left. Yields
        after each trial.
        """
        while time.time() < deadline:
            fail_stale_trials(self.study)
            begun = False
            with self._lock:  # until the trial has begun and others count it
                states = Counter(trial.state for trial in self.study.get_trials(deepcopy=False))
                running = states[TrialState.RUNNING]
                enough = sum(states[state] for state in DONE) + running >= trials or self._exhausted()
                if not enough:
                    self._one_trial()
                    begun = True
            if begun:
                yield
            elif running:
                time.sleep(0.5)
            else:
                return

    def _one_trial(self) -> None:
        begun: Trial | None = None

        def objective(trial: Trial) -> float | tuple[float, float]:
            nonlocal begun
            begun = trial
            self._lock.release()
            return self.objective(trial)

        try:
            self.study.optimize(objective, n_trials=1)
        except BaseException:
            if begun is not None:
                self._put_back(begun)
            raise
        finally:
            if begun is not None:
                self._lock.acquire()

    def objective(self, trial: Trial) -> float | tuple[float, float]:
        """The AUROC of a trial's setting, said after each checkpoint; with its cost where that is asked."""
        setting = self.space.suggest(trial)
        cost = cost_of(setting, self.study)
        trial.set_user_attr("cost", cost)
        trial.set_user_attr("machine", MACHINE)
        single = len(self.study.directions) == 1
        corrupted = self.measure.corrupted
        for step, values in enumerate(self.measure.steps(setting), 1):
            value = auroc(corrupted, values)
            if single:
                trial.report(value, step)
                if step < len(setting.epochs) and trial.should_prune():
                    raise optuna.TrialPruned
        if all(other.params != trial.params for other in finished(self.study)):
            attach(trial, values, corrupted, value)
        return value if single else (value, cost)

    def _exhausted(self) -> bool:
        grid = self.study.sampler
        return isinstance(grid, GridSampler) and grid.is_exhausted(self.study)

    def _put_back(self, trial: Trial) -> None:
        """A trial that was interrupted, or failed, is one of the next that are run."""
        storage = self.study._storage
        if storage.get_trial(trial._trial_id).state is TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        frozen = storage.get_trial(trial._trial_id)
        if frozen.state is TrialState.FAIL:
            RetryHeartbeatStaleTrialCallback(RETRIES)(self.study, frozen)
