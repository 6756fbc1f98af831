"""The study in Optuna's storage: what happens to trials whose workers end at the wrong moment."""

from __future__ import annotations

import errno
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._heartbeat import HeartbeatThread
from optuna.trial import TrialState, create_trial
from search_params import CONTENT

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.config.yaml_file import SourceFile
from memtrack.core.recording.trajectory import InMemoryTrajectory
from memtrack.tune import study as studies
from memtrack.tune import trials
from memtrack.tune.evaluator import SettingEvaluator
from memtrack.tune.options import Options
from memtrack.tune.setting import Setting
from memtrack.tune.space import Space
from memtrack.tune.study import StudyFacts, open_study, shown
from memtrack.tune.trials import Worker
from memtrack.tune.truth import Corruption

Make = Callable[..., Space]
FOREVER = time.time() + 1e6
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_study: Path) -> None:
    """In a folder of its own with an empty study, with a heart that beats every second."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".memtrack/tune"
    folder.mkdir(parents=True)
    shutil.copy(empty_study, folder)
    monkeypatch.setattr(studies, "HEARTBEAT", 1)
    monkeypatch.setattr(trials, "attach", lambda *_: None)


@pytest.fixture
def no_study_yet(quick: None) -> None:
    """Without the empty study."""
    shutil.rmtree(".memtrack")


class Fake(SettingEvaluator):
    """Four samples of which two are corrupted; `before` is called before each trial's last checkpoint."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.truth = Corruption(np.array([False, False, True, True]))
        self.before = before

    def steps(self, setting: Setting) -> Iterator[InMemoryTrajectory]:
        self.before()
        yield InMemoryTrajectory({"curvature": {1: np.array([1.0, 2.0, 3.0, setting.perturbation_scale])}})


def opened(space: Space, fingerprint: str = "here", **more: Any) -> optuna.Study:
    file = SourceFile(Path("params.yaml"), {}, {})
    options = Options(Params.model_validate(CONTENT), space.tune, file, frozenset({"study"}), False, False)
    facts = more.pop("facts", StudyFacts(0.01, 0.02, 2, 2))
    return open_study(options, space, "one", fingerprint, measure=lambda: facts, worker=0)[0]


def worker(space: Space, evaluator: Fake) -> Worker:
    return Worker(opened(space), space, evaluator)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def one_epoch(space: Make, **tune: Any) -> Space:
    return space(epochs=[{"kind": "list", "epochs": [1]}], pruner="none", **tune)


def test_a_worker_that_ends_before_its_first_heartbeat_holds_nobody_up(
    space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = one_epoch(space)
    study = opened(searched)
    with monkeypatch.context() as patch:
        patch.setattr(RandomSampler, "before_trial", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        study.sampler = RandomSampler()
        with pytest.raises(KeyboardInterrupt):
            study.ask()
    assert states(study) == ["RUNNING"]
    assert len(list(worker(searched, Fake()).work(3, FOREVER))) == 3
    assert sorted(states(study)) == ["COMPLETE"] * 3 + ["FAIL"]
    assert [0] in [RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in study.trials]


@pytest.mark.parametrize("moment", ["start", "join"])
def test_an_interrupt_as_a_trial_begins_or_ends_leaves_no_heart_beating(
    space: Make, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    searched, beating = one_epoch(space), threading.active_count()
    plain = getattr(HeartbeatThread, moment)

    def interrupted(self: HeartbeatThread) -> None:
        plain(self)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(HeartbeatThread, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(worker(searched, Fake()).work(2, FOREVER))
    assert threading.active_count() == beating
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    found = opened(searched)
    assert states(found) == (["FAIL", "WAITING"] if moment == "start" else ["COMPLETE"])
    list(worker(searched, Fake()).work(2, FOREVER))
    assert states(opened(searched)).count("COMPLETE") == 2


@pytest.mark.parametrize("write", ["set_trial_intermediate_value", "set_trial_user_attr"])
def test_an_interrupt_while_the_database_is_written_waits_for_its_end(
    space: Make, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """A write that is cut off can keep the database locked."""
    searched = one_epoch(space)
    plain, written = getattr(RDBStorage, write), []

    def interrupted(self: RDBStorage, *arguments: Any, **named: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        plain(self, *arguments, **named)
        written.append(arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, write, interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(worker(searched, Fake()).work(2, FOREVER))
    assert written
    list(worker(searched, Fake()).work(2, FOREVER))
    assert states(opened(searched)).count("COMPLETE") == 2


def test_no_trial_begins_between_the_failure_of_one_and_its_retry(
    space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    searching = worker(one_epoch(space), Fake())
    monkeypatch.setattr(trials, "fail_stale_trials", lambda _: held.append(searching._lock.is_locked))
    list(searching.work(1, FOREVER))
    assert held
    assert all(held)


def test_a_worker_that_was_given_up_goes_on(space: Make) -> None:
    """Its trial is run by another one, once."""
    searched = one_epoch(space)
    given_up: list[int] = []

    def suspended() -> None:
        if not given_up:
            study = opened(searched)
            (trial,) = study.get_trials(states=(TrialState.RUNNING,))
            given_up.append(trial.number)
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            RetryHeartbeatStaleTrialCallback(3)(study, trial)

    first = worker(searched, Fake(suspended))
    list(first.work(3, FOREVER))
    assert states(first.study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert RetryHeartbeatStaleTrialCallback.retry_history(first.study.trials[1]) == given_up == [0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_trial_that_is_interrupted_is_the_next_one(space: Make, error: type[BaseException]) -> None:
    searched = one_epoch(space)

    def fail() -> None:
        raise error

    with pytest.raises(error):
        list(worker(searched, Fake(fail)).work(3, FOREVER))
    study = opened(searched)
    assert states(study) == ["FAIL", "WAITING"]
    list(worker(searched, Fake()).work(2, FOREVER))
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[0].params == study.trials[1].params


def test_a_grid_that_is_gone_on_with_tries_every_point_once(space: Make) -> None:
    searched = one_epoch(
        space, sampler="grid", perturbation_scale={"low": 0.01, "high": 0.02}, probes={"low": 1, "high": 2}
    )
    for count in (2, 4, 100):
        list(worker(searched, Fake()).work(count, FOREVER))
    tried = [tuple(trial.params.values()) for trial in opened(searched).trials]
    assert len(set(tried)) == len(tried) == 3 * 2


def test_what_was_measured_when_the_study_was_made_stays(space: Make) -> None:
    searched = one_epoch(space)
    opened(searched)
    again = opened(searched, facts=StudyFacts(5.0, 5.0, 5, 5))
    assert StudyFacts(**again.user_attrs[studies.FACTS]) == StudyFacts(0.01, 0.02, 2, 2)
    setting = searched.default
    assert studies.cost_of(setting, again) == pytest.approx(
        1 + len(setting.epochs) * (0.01 + 0.02 * setting.probes)
    )


def test_a_study_that_measures_something_else_is_refused(space: Make) -> None:
    opened(one_epoch(space))
    with pytest.raises(Exception, match=r"command line: study: the study 'one' in sqlite://.* was made with"):
        opened(one_epoch(space), "elsewhere")


def test_a_study_of_another_program_is_refused(space: Make) -> None:
    url = studies.storage_url(one_epoch(space).tune)
    foreign = optuna.create_study(study_name="one", storage=url, direction="maximize")
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(Exception, match="cannot be compared"):
        opened(one_epoch(space))


def with_trial(space: Space, value: float, **changes: Any) -> optuna.Study:
    """A study with a trial of a search, and one like it with some changes."""
    list(worker(space, Fake()).work(1, FOREVER))
    study = opened(space)
    first = study.trials[0]
    params = {name: found for name, found in {**first.params, **changes.pop("params", {})}.items() if found}
    distributions = {name: first.distributions[name] for name in params}
    more = {"user_attrs": {"cost": 1.0}, **changes}
    study.add_trial(create_trial(value=value, params=params, distributions=distributions, **more))
    return study


def test_a_study_with_a_trial_that_a_search_may_have_written(space: Make) -> None:
    with_trial(one_epoch(space), 0.9)
    opened(one_epoch(space))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": 9.9}, r"trial \d has the value 9\.9, not one of 0 to 1"),
        ({"value": -0.1}, r"trial \d has the value -0\.1, not one of 0 to 1"),
        ({"value": 0.9, "user_attrs": {}}, r"trial \d lacks a parameter or its cost"),
        ({"value": 0.9, "params": {"perturbation_scale": None}}, r"trial \d lacks a parameter or its cost"),
    ],
)
def test_a_study_with_a_trial_that_no_search_has_written_is_refused(
    space: Make, changes: dict[str, Any], said: str
) -> None:
    with_trial(one_epoch(space), **changes)
    with pytest.raises(
        InputError, match=f"study: the study 'one' in sqlite.* is damaged .{said}.: choose another"
    ):
        opened(one_epoch(space))


@pytest.mark.parametrize("name", [studies.FACTS, studies.KEY])
def test_a_study_without_its_attributes_is_refused(space: Make, name: str) -> None:
    study = opened(one_epoch(space))
    file = studies.storage_url(one_epoch(space).tune).removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("delete from study_user_attributes where key = ?", [name]).rowcount == 1
        database.commit()
    assert study.study_name == "one"
    with pytest.raises(InputError, match=r"is damaged .it lacks its facts or its key\): choose another name"):
        opened(one_epoch(space))


def test_a_full_disk_is_no_mistake_in_the_storage(space: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as the study is opened nor later; every other error stays what it is."""
    engine = sqlalchemy.create_engine("sqlite://")

    def full(*_: object, **__: object) -> None:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("PRAGMA max_page_count = 1"))
            connection.execute(sqlalchemy.text("CREATE TABLE one (two INTEGER)"))

    with pytest.raises(OSError, match="No space left") as caught, studies.full_disk():
        full()
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(sqlalchemy.exc.OperationalError), studies.full_disk(), engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM nothing"))
    monkeypatch.setattr(studies.optuna, "create_study", full)
    monkeypatch.setattr(studies.time, "sleep", lambda _: None)
    with pytest.raises(OSError, match="No space left"):
        opened(one_epoch(space))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:secret@host:5432/studies",
        "postgresql+psycopg://me:sec%40ret@host/studies",
        "postgresql+psycopg://host/studies?user=me&password=secret",
    ],
)
def test_nothing_secret_of_a_storage_is_shown(url: str) -> None:
    assert shown(url) == "postgresql+psycopg://host/studies"


def test_a_password_that_is_not_escaped_is_no_part_of_a_host() -> None:
    with pytest.raises(ValueError, match="%40"):
        shown("postgresql+psycopg://me:sec@ret@host/studies")


@pytest.mark.usefixtures("no_study_yet")
def test_a_study_is_not_put_into_the_database_of_mlflow(space: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = one_epoch(space)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", studies.storage_url(searched.tune))
    with pytest.raises(InputError, match=r"tune\.storage: MLflow keeps its runs in this database too"):
        opened(searched)
    assert not Path(".memtrack/tune/study.db").exists()


@pytest.mark.usefixtures("no_study_yet")
@pytest.mark.parametrize("name", ["a?b", "a%20b", "a b#c", "%3F", "\u00e9"])
def test_the_study_is_in_a_project_of_any_path(
    space: Make, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    url = studies.storage_url(one_epoch(space).tune)
    with closing(sqlalchemy.create_engine(url).connect()) as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE here (x INTEGER)"))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / ".memtrack/tune/study.db").exists()


def test_a_file_is_shown_whole() -> None:
    assert shown("sqlite:////home/me/study.db") == "sqlite:////home/me/study.db"
