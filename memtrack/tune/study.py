"""The study in Optuna's storage."""

from __future__ import annotations

import errno
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.pruners import BasePruner
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from memtrack.config.paths import project_root
from memtrack.config.secrets import is_unclear
from memtrack.config.sections.tune import DEFAULT_STORAGE, TuneParams
from memtrack.tracking.address import UNCLEAR, address, located, reported, shared_database
from memtrack.tune.options import Options
from memtrack.tune.setting import Setting
from memtrack.tune.space import Space, pruner, sampler

FOLDER = Path(".memtrack/tune")
FINGERPRINT, FACTS, KEY = "memtrack_fingerprint", "memtrack_facts", "memtrack_key"
HEARTBEAT = 5
"""In seconds. A trial whose worker sends no heartbeat for three times as long is run again."""
RETRIES = 3
STORAGES = (
    "give postgresql+psycopg://USER:PASSWORD@HOST/DATABASE (with `pip install 'memtrack[postgres]'`), "
    "sqlite:///FILE in a folder that exists, or null for a file in the project"
)
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
"""The directions for the AUROC or correlation, and for the cost if it is an objective."""
TITLES = {"auroc": "AUROC", "memorization": "correlation", "cost": "cost"}
MACHINE = socket.gethostname()
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
warnings.filterwarnings("ignore", category=ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage_url(tune: TuneParams) -> str:
    """Optuna's storage: the one that is given, or a SQLite file in the project."""
    if tune.storage is None:
        (project_root() / FOLDER).mkdir(parents=True, exist_ok=True)
    return located(tune.storage or DEFAULT_STORAGE)


def shown(url: str) -> str:
    """The address of a storage for messages, without user, password and tokens.

    Raises:
        ValueError, SQLAlchemyError: if it is not a URL of a database, or a password in it is not escaped.
    """
    make_url(url)
    if is_unclear(url):
        raise ValueError(UNCLEAR)
    return address(url)


@dataclass(frozen=True)
class StudyFacts:
    """Facts that are measured once, when the study is made.

    Attributes:
        base, probe: the time for the gradient and for one probe of all samples, in trainings.
        corrupted, clean: the numbers of samples that trials see: those to find, and others.
    """

    base: float
    probe: float
    corrupted: int
    clean: int

    @property
    def samples(self) -> tuple[int, int]:
        """The numbers of corrupted and clean samples."""
        return self.corrupted, self.clean


@dataclass(frozen=True)
class NewStudy:
    """How a study begins.

    Attributes:
        objectives: the keys of what its trials measure, as in `TITLES`.
        measure: measures facts that are kept with it.
        first: the parameters of its first trials, and attributes of each.
        different: what other studies were made with, in words.
    """

    objectives: Sequence[str]
    pruner: BasePruner
    measure: Callable[[], dict[str, Any]]
    first: Sequence[tuple[dict[str, Any], dict[str, Any]]]
    different: str


def open_study(
    options: Options,
    space: Space,
    name: str,
    fingerprint: str,
    *,
    measure: Callable[[], StudyFacts],
    worker: int,
) -> tuple[Study, StudyFacts]:
    """Open the study `name`, or make it with the parameters in force as its first trial.

    Args:
        fingerprint: the key of what its trials measure.
        measure: measures the facts of a new study.
        worker: the number of this process, for the sampler's seed.

    Raises:
        InputError: as `shared_study`.
    """
    first = space.values(space.default)
    new = NewStudy(
        space.tune.objectives,
        pruner(space.tune),
        lambda: asdict(measure()),
        [] if first is None else [(first, {})],
        "checkpoints, samples, objectives or choices (norm, score, epochs)",
    )
    study = shared_study(options, name, fingerprint, new, partial(_damage, space=space))
    study.sampler = sampler(space, sampler_seed(space.tune, worker, len(study.get_trials(deepcopy=False))))
    return study, StudyFacts(**study.user_attrs[FACTS])


def shared_study(
    options: Options,
    name: str,
    fingerprint: str,
    new: NewStudy,
    damage: Callable[[Study], str | None],
) -> Study:
    """Open the study `name`, or make it.

    Args:
        fingerprint: the key of what its trials measure.
        damage: says what in a study this program cannot have written, or None.

    Raises:
        InputError: if the storage cannot be used, or if it has a study of this name that measures something
            else.
    """
    url = storage_url(options.tune)
    try:
        address = shown(url)
    except (SQLAlchemyError, ValueError):
        raise options.mistake(
            "storage", f"is no URL of a database (write an @ in a password as %40): {STORAGES}"
        ) from None
    if problem := shared_database(options.params.tracking, url):
        raise options.mistake("storage", problem)
    with _lock():
        with _storage_errors(options, url):
            study = _open(url, name, new)
            known = study.user_attrs.get(FINGERPRINT)
            is_new = known is None and not study.get_trials(deepcopy=False, states=DONE)
        if is_new:
            facts = new.measure()
            with _storage_errors(options, url):
                study.set_metric_names([TITLES[objective] for objective in new.objectives])
                study.set_user_attr(KEY, uuid.uuid4().hex)
                study.set_user_attr(FACTS, facts)
                for params, attributes in new.first:
                    study.enqueue_trial(params, attributes, skip_if_exists=True)
                study.set_user_attr(FINGERPRINT, fingerprint)  # last, because it marks the study as complete
            known = fingerprint
    if known != fingerprint:
        text = (
            f"the study {name!r} in {address} was made with other {new.different}: its trials cannot be "
            "compared with new ones; choose another name"
        )
        raise options.mistake("study", text)
    if why := damage(study):
        raise options.mistake(
            "study", f"the study {name!r} in {address} is damaged ({why}): choose another name"
        )
    return study


def _damage(study: Study, space: Space) -> str | None:
    """What in the study this program cannot have written, or None."""
    low, high = (0, 1) if space.tune.objectives[0] == "auroc" else (-1, 1)
    try:
        StudyFacts(**study.user_attrs[FACTS])
        str(study.user_attrs[KEY])
    except (KeyError, TypeError):
        return "it lacks its facts or its key"
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        try:
            space.setting(trial.params)
            float(trial.user_attrs["cost"])
        except (KeyError, TypeError, ValueError):
            return f"trial {trial.number} lacks a parameter or its cost"
        if not low <= trial.values[0] <= high:
            return f"trial {trial.number} has the value {trial.values[0]:g}, not one of {low} to {high}"
    return None


@contextmanager
def full_disk() -> Iterator[None]:
    """Raise the OSError of a full disk in place of what SQLite and Optuna make of it."""
    try:
        yield
    except (SQLAlchemyError, OptunaError) as error:
        if "disk is full" in f"{error} {error.__cause__}":
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise


@contextmanager
def _storage_errors(options: Options, url: str) -> Iterator[None]:
    """Report what Optuna raises as an error in the key `storage`."""
    try:
        with full_disk():
            yield
    except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
        reason = reported(error, url)[:400]
        text = f"cannot be used: {STORAGES}. Optuna reports: {reason}"
        raise options.mistake("storage", text) from None


def sampler_seed(tune: TuneParams, worker: int, trials: int) -> int:
    """A different seed for each worker, and each time that a study is continued.

    A grid or a sequence always gets the same seed, because all workers share its order.
    """
    if tune.sampler in ("grid", "qmc"):
        return tune.seed
    return int(np.random.SeedSequence([tune.seed, worker, trials]).generate_state(1)[0])


def _lock() -> FileLock:
    """The lock for what only one process of this machine may do at a time."""
    folder = project_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock")


def _open(url: str, name: str, new: NewStudy, attempts: int = 3) -> Study:
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        storage = RDBStorage(
            url, engine_kwargs=arguments, heartbeat_interval=HEARTBEAT, grace_period=3 * HEARTBEAT,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(RETRIES),
        )  # fmt: skip
        return optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, pruner=new.pruner,
            directions=DIRECTIONS[: len(new.objectives)],
        )  # fmt: skip
    except SQLAlchemyError:
        if attempts == 1:
            raise
    time.sleep(1)  # another process may be creating the tables
    return _open(url, name, new, attempts - 1)


def cost_of(setting: Setting, study: Study) -> float:
    """The time of training and recording, in trainings without recording."""
    facts = StudyFacts(**study.user_attrs[FACTS])
    return 1 + len(setting.epochs) * (facts.base + setting.probes * facts.probe)


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were run to their end, or were pruned."""
    return study.get_trials(deepcopy=False, states=DONE)


def complete(study: Study, space: Space) -> list[FrozenTrial]:
    """The trials that were run to their end, within `space` (trials of earlier searches may be outside)."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial for trial in trials if space.values(space.setting(trial.params)) is not None]
