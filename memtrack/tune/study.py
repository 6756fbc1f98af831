"""The study in Optuna's storage, and the loop of a worker."""

from __future__ import annotations

import signal
import socket
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.samplers import GridSampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from memtrack.core.scores import SCORES
from memtrack.io.params import TuneParams
from memtrack.io.paths import project_root
from memtrack.tune.artifacts import attach
from memtrack.tune.measure import Measure, Setting
from memtrack.tune.options import Options
from memtrack.tune.space import Space, pruner, sampler

FOLDER = Path(".memtrack/tune")
DATABASE = "study.db"
FINGERPRINT, FACTS, KEY = "memtrack_fingerprint", "memtrack_facts", "memtrack_key"
HEARTBEAT = 5
"""Seconds; a trial whose worker has said nothing for three times as long is run again."""
RETRIES = 3
STORAGES = (
    "give postgresql+psycopg://USER:PASSWORD@HOST/DATABASE (with `pip install 'memtrack[postgres]'`), "
    "sqlite:///FILE in a folder that is there, or null for a file in the project"
)
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
"""Of the AUROC or correlation, and of the cost where that is asked for."""
TITLES = {"auroc": "AUROC", "memorization": "correlation", "cost": "cost"}
MACHINE = socket.gethostname()
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

warnings.filterwarnings("ignore", category=ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage_url(tune: TuneParams) -> str:
    """Optuna's storage: the one that is given, or a SQLite file in the project."""
    if tune.storage is not None:
        return tune.storage
    folder = project_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / DATABASE}"


def shown(url: str) -> str:
    """A storage's URL without what may be secret: for people.

    Raises:
        ValueError, SQLAlchemyError: where it is none.
    """
    parsed = make_url(url)
    if "@" in (parsed.host or ""):
        raise ValueError("an @ in a password should be written %40")
    return f"{parsed.drivername}://{parsed.host or ''}/{parsed.database}"


@dataclass(frozen=True)
class StudyFacts:
    """What was measured once, when the study was made.

    Attributes:
        base, probe: the time of the gradient and of one probe of all samples, in trainings.
        corrupted, clean: how many samples trials see, to be found and others.
    """

    base: float
    probe: float
    corrupted: int
    clean: int

    @property
    def samples(self) -> tuple[int, int]:
        """Corrupted and clean."""
        return self.corrupted, self.clean


def open_study(
    options: Options,
    space: Space,
    name: str,
    fingerprint: str,
    *,
    measure: Callable[[], StudyFacts],
    worker: int,
) -> tuple[Study, StudyFacts]:
    """The study `name`, made where it is not there, with the parameters in force as its first trial.

    Args:
        fingerprint: of what its trials measure.
        measure: the facts of a study that is made.
        worker: the number of this process, for the sampler's seed.

    Raises:
        InputError: where the storage cannot be used, or holds a study of that name that measures
            something else.
    """
    tune = space.tune
    url = storage_url(tune)
    try:
        address = shown(url)
    except (SQLAlchemyError, ValueError):
        raise options.mistake(
            "storage", f"is no URL of a database (an @ in a password is written %40): {STORAGES}"
        ) from None
    try:
        with _lock():
            study = _open(url, name, tune)
            known = study.user_attrs.get(FINGERPRINT)
            if known is None and not study.get_trials(deepcopy=False, states=DONE):
                study.set_metric_names([TITLES[name] for name in tune.objectives])
                study.set_user_attr(KEY, uuid.uuid4().hex)
                study.set_user_attr(FACTS, asdict(measure()))
                first = space.values(space.default)
                if first is not None:
                    study.enqueue_trial(first, skip_if_exists=True)
                study.set_user_attr(FINGERPRINT, fingerprint)  # last: with it the study is whole
                known = fingerprint
    except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
        reason = str(error).replace(url, "it")[:400]
        text = f"cannot be used: {STORAGES}. Optuna says: {reason}"
        raise options.mistake("storage", text) from None
    if known != fingerprint:
        text = (
            f"the study {name!r} in {address} was made with other checkpoints, samples, objectives or "
            "choices (norm, score, epochs): its trials cannot be compared with new ones; choose another name"
        )
        raise options.mistake("study", text)
    study.sampler = sampler(space, _sampler_seed(tune, worker, len(study.get_trials(deepcopy=False))))
    return study, StudyFacts(**study.user_attrs[FACTS])


def _sampler_seed(tune: TuneParams, worker: int, trials: int) -> int:
    """Another one for each worker, and each time that a study is gone on with.

    For a grid or a sequence it is the same: what is shuffled by it is shared.
    """
    if tune.sampler in ("grid", "qmc"):
        return tune.seed
    return int(np.random.SeedSequence([tune.seed, worker, trials]).generate_state(1)[0])


def _lock() -> FileLock:
    """Of what is done by one process of this machine at a time."""
    folder = project_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock")


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
    facts = StudyFacts(**study.user_attrs[FACTS])
    return 1 + len(setting.epochs) * (facts.base + setting.probes * facts.probe)


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were run to their end or pruned."""
    return study.get_trials(deepcopy=False, states=DONE)


def complete(study: Study, space: Space) -> list[FrozenTrial]:
    """The trials that were run to their end, within the ranges of `space` (earlier ones may be outside)."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if space.values(space.setting(trial.params)) is not None]


class HeldBack:
    """Ctrl-C and SIGTERM wait until they are let through, or to the end of the block.

    Optuna's heartbeat goes on for ever where one comes while a trial begins or ends.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> HeldBack:
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other thread gets signals
            self._before = {number: signal.getsignal(number) for number in self.SIGNALS}
        self._hold()
        return self

    def __exit__(self, *error: object) -> None:
        self._release()

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """As outside of the block."""
        try:
            self._release()
            yield
        finally:
            self._hold()

    def _hold(self) -> None:
        for number, handler in self._before.items():
            if callable(handler):
                signal.signal(number, lambda *came: self._waiting.append(came))

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        while self._waiting:
            number, frame = self._waiting.pop()
            self._before[number](number, frame)


class Worker:
    """Runs trials of a study until it has as many as asked for."""

    def __init__(self, study: Study, space: Space, measure: Measure) -> None:
        self.study, self.space, self.measure = study, space, measure
        self._lock = _lock()
        self._seen: set[int] = set()

    def work(self, trials: int, deadline: float) -> Generator[None, None, None]:
        """Begin trials until the study has `trials` finished ones or time.time() is past `deadline`.

        A trial whose worker was killed is failed and run again, as long as one worker is left. Yields
        after each trial.
        """
        while time.time() < deadline:
            self._fail_stale_trials()
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

    def _fail_stale_trials(self) -> None:
        """Fail trials whose workers were killed, and put them back.

        Optuna never fails one that was killed before its first heartbeat: we give it one.
        """
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if trial._trial_id not in self._seen:
                self._seen.add(trial._trial_id)
                self.study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        fail_stale_trials(self.study)

    def _one_trial(self) -> None:
        with HeldBack() as held_back:
            self._optimize(held_back)

    def _optimize(self, held_back: HeldBack) -> None:
        begun: Trial | None = None

        def objective(trial: Trial) -> float | tuple[float, float]:
            nonlocal begun
            begun = trial
            self._lock.release()
            with held_back.let_through():
                return self.objective(trial)

        try:
            self.study.optimize(objective, n_trials=1)
        except BaseException as error:
            taken = begun is not None and self._taken_over(begun)
            if begun is not None and not taken:
                self._put_back(begun)
            if not taken or not isinstance(error, Exception):
                raise
        finally:
            if begun is not None:
                self._lock.acquire()

    def objective(self, trial: Trial) -> float | tuple[float, float]:
        """How well a trial's setting does, said after each checkpoint; with its cost where that is asked."""
        setting = self.space.suggest(trial)
        cost = cost_of(setting, self.study)
        trial.set_user_attr("cost", cost)
        trial.set_user_attr("machine", MACHINE)
        single = len(self.study.directions) == 1
        score, truth = SCORES[setting.score], self.measure.truth
        for step, known in enumerate(self.measure.steps(setting), 1):
            last = step == len(setting.epochs)
            if single or last:
                values = score(known)
                value = truth.value(values)
            if single:
                trial.report(value, step)
                if not last and trial.should_prune():
                    raise optuna.TrialPruned
        if all(other.params != trial.params for other in finished(self.study)):
            attach(trial, values, truth.flags, f"{truth.title} {value:.4f}")
        return value if single else (value, cost)

    def _exhausted(self) -> bool:
        grid = self.study.sampler
        return isinstance(grid, GridSampler) and grid.is_exhausted(self.study)

    def _taken_over(self, trial: Trial) -> bool:
        """Whether others thought that this worker was dead, and have put the trial back."""
        history = RetryHeartbeatStaleTrialCallback.retry_history
        known = self.study.get_trials(deepcopy=False)
        return any(history(other)[-1:] == [trial.number] for other in known)

    def _put_back(self, trial: Trial) -> None:
        """Make a trial that was interrupted, or failed, one of the next that are run."""
        storage = self.study._storage
        if storage.get_trial(trial._trial_id).state is TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        frozen = storage.get_trial(trial._trial_id)
        if frozen.state is TrialState.FAIL:
            RetryHeartbeatStaleTrialCallback(RETRIES)(self.study, frozen)
