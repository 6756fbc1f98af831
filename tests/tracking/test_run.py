"""Runs in MLflow: each number and file arrives once, whenever the store is there and whoever dies."""

from __future__ import annotations

import errno
import shutil
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import mlflow
import mlflow.pytorch
import numpy as np
import pytest
import requests
from mlflow.entities import Param, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import ErrorCode
from placed import placed
from sqlalchemy.exc import OperationalError
from torch import nn

from memtrack.cli import upload
from memtrack.config.errors import InputError
from memtrack.config.sections.tracking import TrackingParams
from memtrack.tracking import contact, outbox, refusals, store
from memtrack.tracking import run as tracking
from memtrack.tracking.outbox import FilesWait, Outbox
from memtrack.tracking.reference import RunReference
from memtrack.tracking.run import LONGEST, Run, flatten

Client = mlflow.MlflowClient
PARAMETERS = {"train": {"epochs": 3, "schedule": {"milestones": [1, 2]}}, "record": {"batch_size": None}}
FLAT = {"train.epochs": "3", "train.schedule.milestones": "[1, 2]", "record.batch_size": "None"}


@pytest.fixture(autouse=True)
def client(empty_store: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The project's own store, read apart from memtrack; nothing that a process remembers."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(empty_store, project / "mlflow.db")
    next_process()
    yield Client(tracking_uri=f"sqlite:///{project}/mlflow.db")
    next_process()


def next_process() -> None:
    """Forget what this process knows of runs."""
    store._found.clear()
    contact._contacts.clear()


def opened(uri: str | None = None, key: str | None = None, **more: Any) -> Run:
    given: dict[str, Any] = {"name": "noisy", "parameters": PARAMETERS, "tags": {"source": "digits"}, **more}
    experiment = given.pop("experiment", "memtrack")
    given.setdefault("expected", key is not None)
    params = placed(TrackingParams(uri=uri, experiment=experiment), "tracking")
    return Run.open(params, "noisy", key=key or uuid.uuid4().hex, **given)


def boxes() -> list[str]:
    """What is in the folder of the outboxes."""
    folder = Path(".memtrack/mlflow")
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def experiment_id(client: Client, name: str = "memtrack") -> str:
    return str(client.get_experiment_by_name(name).experiment_id)


def runs(client: Client) -> list[Any]:
    return list(client.search_runs([experiment_id(client)], run_view_type=ViewType.ALL))


def the_run(client: Client) -> Any:
    (run,) = runs(client)
    return run


def points(client: Client, metric: str) -> list[tuple[int, float]]:
    return sorted(
        (one.step, one.value) for one in client.get_metric_history(the_run(client).info.run_id, metric)
    )


def artifacts(uri: str) -> dict[str, bytes]:
    """Files by name, from the folder that a URI names."""
    folder = Path(unquote(urlparse(uri).path))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(client: Client, times: bool = False) -> dict[str, Any]:
    """What the store has of the one run there is."""
    run = the_run(client)
    models = client.search_logged_models([experiment_id(client)])
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        "status": run.info.status,
        "name": run.info.run_name,
        "metrics": {
            name: sorted((one.step, one.value, *([one.timestamp] if times else [])) for one in history)
            for name, history in histories.items()
        },
        "params": run.data.params,
        "tags": {
            name: value
            for name, value in run.data.tags.items()
            if not name.startswith("mlflow.") and name != store.KEY_TAG
        },
        "files": artifacts(run.info.artifact_uri),
        "data": [(one.dataset.name, one.dataset.digest, one.dataset.source_type, one.dataset.source)
                 for one in run.inputs.dataset_inputs],
        "models": [(one.status.name if hasattr(one.status, "name") else str(one.status), one.source_run_id,
                    artifacts(one.artifact_location).keys()) for one in models],
        "outputs": [one.model_id for one in run.outputs.model_outputs] if run.outputs else [],
    }  # fmt: skip


def model_folder() -> Path:
    """A folder like one that mlflow.pytorch.save_model writes."""
    folder = Path("model")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    Model().save(folder / "MLmodel")
    (folder / "data/weights").write_text("weights")
    return folder


def tell(run: Run, model: bool = True) -> None:
    """All that a training of three epochs tells."""
    path = Path("file")
    path.write_text("ids")
    dataset = {"name": "digits-noisy", "digest": "abc", "folder": "data/variants/noisy"}
    run.log(dataset=dataset, files={"curvature/ids.npy": path})
    for epoch in (1, 2, 3):
        path.write_text(f"curvature {epoch}")
        files = {f"curvature/epoch_{epoch:04d}.npy": path}
        run.log(files=files, metrics={"train_loss": 1 / epoch, "same": 0.5}, step=epoch)
    path.write_text("memorization")
    run.log(files={"scores/memorization.npy": path, "metrics.json": path}, tags={"more": "yes"})
    if model:
        run.log(files={"model": model_folder()}, model=True)
    run.end()


def check_told(client: Client, model: bool = True) -> None:
    """Each thing that `tell` tells is in the store, and nothing is there twice."""
    there, run = everything(client), the_run(client).info.run_id
    expected = {
        "status": "FINISHED",
        "name": "noisy",
        "metrics": {"train_loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)], "same": [(1, 0.5), (2, 0.5), (3, 0.5)]},
        "params": FLAT,
        "tags": {"variant": "noisy", "source": "digits", "more": "yes"},
        "files": {
            "curvature/ids.npy": b"ids",
            **{f"curvature/epoch_{epoch:04d}.npy": b"curvature %d" % epoch for epoch in (1, 2, 3)},
            "scores/memorization.npy": b"memorization",
            "metrics.json": b"memorization",
        },
        "data": [("digits-noisy", "abc", "dvc", '{"uri": "data/variants/noisy"}')],
        "models": [("READY", run, {"MLmodel": 0, "data/weights": 0}.keys())] if model else [],
    }
    assert {name: there[name] for name in expected} == expected
    assert len(there["outputs"]) == model


# --- a store that is there ----------------------------------------------------------------------


def test_everything_that_is_told_is_in_the_store(client: Client) -> None:
    run = opened()
    assert the_run(client).info.status == "RUNNING"
    assert the_run(client).data.tags[store.KEY_TAG] == run.reference.key
    tell(run)
    check_told(client)
    assert boxes() == []
    (found,) = client.search_logged_models([experiment_id(client)])
    (output,) = everything(client)["outputs"]
    assert output == found.model_id
    assert Model.load(unquote(urlparse(found.artifact_location).path)).run_id == the_run(client).info.run_id


def test_numbers_are_there_while_the_training_goes_on(client: Client) -> None:
    run = opened()
    for epoch in (1, 2):
        run.log(metrics={"loss": epoch / 2}, step=epoch)
        assert points(client, "loss") == [(step, step / 2) for step in range(1, epoch + 1)]
    assert outbox.waiting() == []


def test_each_run_is_a_run_of_its_own(client: Client) -> None:
    first, second = opened(), opened()
    assert first.reference.key != second.reference.key
    for run, value in ((first, 1.0), (second, 2.0)):
        run.log(metrics={"loss": value}, step=1)
        run.end()
    assert sorted(run.data.metrics["loss"] for run in runs(client)) == [1.0, 2.0]


def test_many_and_long_parameters(client: Client) -> None:
    many = {f"p{number}": number for number in range(250)} | {"long": "x" * (LONGEST + 1)}
    opened(parameters={"a": many})
    there = the_run(client).data.params
    assert there == {f"a.p{number}": str(number) for number in range(250)} | {"a.long": "x" * LONGEST}


def test_nested_parameters_have_dots_in_their_keys() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None, "f": {}}) == {
        "a.b.c": 1,
        "a.d": [2],
        "e": None,
    }


def test_an_array_is_a_file_of_numpy(client: Client, project: Path) -> None:
    values, run = np.random.default_rng(0).standard_normal(7).astype(np.float32), opened()
    run.results({}, {}, {"scores/curvature": values})
    path = project / "array.npy"
    path.write_bytes(artifacts(the_run(client).info.artifact_uri)["scores/curvature.npy"])
    read = np.load(path)
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_a_network_that_cannot_be_exported_is_said_in_a_tag(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no graph" + "!" * LONGEST)

    monkeypatch.setattr(mlflow.pytorch, "save_model", refuse)
    run = opened()
    run.model(nn.Linear(2, 2), (2,), 2)
    run.end()
    there = everything(client)
    assert there["tags"]["model_not_logged"].startswith("RuntimeError: no graph!!!")
    assert (there["status"], there["models"]) == ("FINISHED", [])


def test_a_network_on_a_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mlflow.pytorch, "save_model", full)
    run = opened()
    with pytest.raises(OSError, match="No space"):
        run.model(nn.Linear(2, 2), (2,), 2)


def test_runs_of_queued_experiments_are_in_the_project(
    client: Client, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "copy").mkdir()
    monkeypatch.chdir(project / "copy")
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.setenv("DVC_EXP_NAME", "large-step")
    tell(opened(), model=False)
    assert the_run(client).info.run_name == "noisy (large-step)"
    assert the_run(client).data.tags["dvc_experiment"] == "large-step"
    assert len(everything(client)["files"]) == 6
    assert (project / "mlruns").is_dir()
    assert [path.name for path in (project / "copy").iterdir()] == ["file"]


def at_once(*work: Callable[[], object]) -> list[BaseException]:
    """Run each in a thread; the errors."""
    errors: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_those_that_make_an_experiment_at_once_share_it(client: Client, project: Path) -> None:
    record = RunReference(
        key="1", tracking_uri=f"sqlite:///{project}/mlflow.db", experiment="new", variant="a"
    )
    found: list[str] = []
    assert at_once(*[lambda: found.append(store.open_experiment(record)[1])] * 3) == []
    assert found == [experiment_id(client, "new")] * 3


def test_a_database_is_made_with_all_of_its_tables_or_not_at_all(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RunReference(key="1", tracking_uri="sqlite:///other.db", experiment="new", variant="a")
    begun = []

    class Killed(Client):  # type: ignore[misc]
        def __init__(self, tracking_uri: str) -> None:
            path = Path(tracking_uri.removeprefix("sqlite:///"))
            with closing(sqlite3.connect(path)) as database:
                database.execute("CREATE TABLE scorers (scorer_id VARCHAR(36))")
            begun.append(path)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(mlflow, "MlflowClient", Killed)
        with pytest.raises(KeyboardInterrupt):
            store.open_experiment(record)
    assert begun[0].exists()
    assert not (project / "other.db").exists()
    client, experiment = store.open_experiment(record)
    assert client.get_experiment(experiment).name == "new"
    assert not begun[0].exists()


def test_two_that_send_the_first_message_of_a_run_at_once_make_one_run(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that has just put a run into its outbox, and another one that sends what is waiting."""
    with monkeypatch.context() as patched:
        patched.setattr(store, "upload", lambda _: 0)
        run = opened()
    meeting = threading.Barrier(2)

    class Meeting(Client):  # type: ignore[misc]
        def search_runs(self, *arguments: Any, **options: Any) -> Any:
            found = super().search_runs(*arguments, **options)
            with suppress(threading.BrokenBarrierError):
                meeting.wait(1)  # a lock would let one of the two pass alone
            return found

    with monkeypatch.context() as patched:
        patched.setattr(mlflow, "MlflowClient", Meeting)
        assert at_once(*[lambda: store.upload(Outbox(run.reference.key))] * 2) == []
    assert len(runs(client)) == 1


# --- messages that are given more than once -----------------------------------------------------


def test_killed_after_every_message(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has a message, and the process dies before it can note so."""
    given: set[object] = set()

    def dying(usual: Callable[..., Any]) -> Callable[..., Any]:
        def once(target: Any, message: dict[str, Any], *file: object) -> Any:
            result = usual(target, message, *file)
            if (message["place"], *file) not in given:
                given.add((message["place"], *file))
                raise ConnectionError("killed")
            return result

        return once

    for method in ("facts", "file"):
        monkeypatch.setattr(store._Target, method, dying(getattr(store._Target, method)))
    run = opened()
    tell(run)
    times = {message.get("step"): message["time"] for message in Outbox(run.reference.key).messages()}
    for waiting in outbox.waiting() * 20:
        next_process()
        with suppress(ConnectionError, FilesWait):
            store.upload(waiting)
    assert len(given) == 8 + 7  # messages and files
    assert boxes() == []
    check_told(client)
    history = everything(client, times=True)["metrics"]["same"]
    assert history == [(epoch, 0.5, times[epoch]) for epoch in (1, 2, 3)]


class Losing:
    """A client of MLflow whose every call reaches the store, and whose reply is lost the first time."""

    def __init__(self, **options: Any) -> None:
        self._client = Client(**options)

    lost: set[tuple[str, str]] = set()  # noqa: RUF012 (each process makes a client, and all lose once)
    sparing = ("get_experiment_by_name", "create_experiment")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            done = getattr(self._client, name)(*arguments, **options)
            what = (name, str(arguments[1:]) if name == "log_artifact" else "")
            if name not in self.sparing and what not in self.lost:
                self.lost.add(what)
                raise ConnectionError(f"the reply to {name} is lost")
            return done

        return call


@pytest.mark.parametrize(
    "model",
    [
        False,
        True,
    ],
)
def test_every_reply_of_the_store_is_lost_once(
    model: bool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Losing, "lost", set())
    monkeypatch.setattr(mlflow, "MlflowClient", Losing)
    tell(opened(), model=model)
    for waiting in outbox.waiting() * 30:
        with suppress(ConnectionError, FilesWait):
            store.upload(waiting)
    assert {name for name, _ in Losing.lost} > {"create_run", "log_batch", "log_inputs", "set_terminated"}
    assert boxes() == []
    check_told(client, model=model)


# --- a store that is away -----------------------------------------------------------------------


class Server:
    """An address on which nobody listens, until it is made to lead to the project's store."""

    def __init__(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with closing(socket.socket()) as found:
            found.bind(("127.0.0.1", 0))
            self.uri = f"http://127.0.0.1:{found.getsockname()[1]}"
        self.there = False
        self.asked = 0

        def client(tracking_uri: str) -> Client:
            self.asked += tracking_uri == self.uri
            leads = self.there and tracking_uri == self.uri
            return Client(tracking_uri=f"sqlite:///{project}/mlflow.db" if leads else tracking_uri)

        monkeypatch.setattr(mlflow, "MlflowClient", client)


@pytest.fixture
def server(project: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(project, monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `Run` sees: one number, to be changed."""
    now = [100.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(tracking, "time", Clock)
    return now


def run_upload(capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """`python -m memtrack.upload`: its status and what it says."""
    next_process()
    with pytest.raises(SystemExit) as end:
        upload.main([])
    return end.value.code, capsys.readouterr().out


def test_a_server_that_is_away_is_said_once_and_gets_everything_later(
    client: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(server.uri)
    tell(run)
    said = capsys.readouterr()
    assert said.err.count("does not answer") == 1
    assert said.err.count(server.uri) >= 1
    assert "python -m memtrack.upload" in said.err
    assert [box.pending() for box in outbox.waiting()] == [8]

    status, text = run_upload(capsys)
    assert status == 1
    assert f"run {run.reference.key}: 8 messages are waiting" in text
    assert "nothing is waiting" not in text
    times = {message.get("step"): message["time"] for message in Outbox(run.reference.key).messages()}

    server.there = True
    status, text = run_upload(capsys)
    assert status == 0
    assert f"run {run.reference.key}: 8 messages sent" in text
    check_told(client)
    assert everything(client, times=True)["metrics"]["same"] == [
        (epoch, 0.5, times[epoch]) for epoch in (1, 2, 3)
    ]
    assert boxes() == []
    assert run_upload(capsys) == (0, "nothing is waiting\n")


def test_a_server_that_comes_back_within_the_run(
    client: Client, server: Server, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(server.uri)
    for epoch in (1, 2, 3):
        run.log(metrics={"loss": float(epoch)}, step=epoch)
    assert capsys.readouterr().err.count("does not answer") == 1
    server.there = True
    clock[0] += 60
    run.log(metrics={"loss": 4.0}, step=4)
    assert points(client, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    run.log(metrics={"loss": 5.0}, step=5)
    assert capsys.readouterr().err == "the MLflow store is back: 5 messages sent\n"
    assert points(client, "loss")[-1] == (5, 5.0)


def test_a_server_that_is_away_is_asked_seldom(server: Server, clock: list[float]) -> None:
    run = opened(server.uri)
    before = server.asked
    for epoch in range(1, 11):
        clock[0] += 0.1
        run.log(metrics={"loss": 1.0}, step=epoch)
    assert server.asked == before
    clock[0] += 2
    run.log(metrics={"loss": 1.0}, step=11)
    assert server.asked == before + 1
    run.end()  # the last chance, whatever the time is
    assert server.asked == before + 2


def test_the_slower_a_server_fails_the_less_it_is_asked(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking takes a tenth of the time at most."""
    run = opened()
    asked: list[float] = []

    def hang(_: Outbox) -> int:
        asked.append(clock[0])
        clock[0] += 20
        raise ConnectionError("timed out")

    monkeypatch.setattr(store, "upload", hang)
    for epoch in range(1, 201):
        clock[0] += 5
        run.log(metrics={"loss": 1.0}, step=epoch)
    total = clock[0] - 100
    assert 20 * len(asked) <= 0.1 * total + 20
    assert len(asked) >= 3


def test_a_failure_in_the_middle_keeps_what_follows_in_order(
    client: Client, monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    usual, broken = store._Target.facts, {2}

    def facts(*arguments: Any) -> dict[str, str]:
        if arguments[-1].get("step") in broken:
            raise MlflowException("the store is full")
        return usual(*arguments)

    monkeypatch.setattr(store._Target, "facts", facts)
    run = opened()
    for epoch in (1, 2, 3):
        clock[0] += 60
        run.log(metrics={"loss": float(epoch)}, step=epoch)
    assert points(client, "loss") == [(1, 1.0)]
    assert [message.get("step") for message in run._outbox.messages()] == [None, 1, 2, 3]
    assert run._outbox.pending() == 2
    broken.clear()
    run.end()
    assert points(client, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    said = capsys.readouterr().err
    assert said.count(" failed; the command continues") == said.count("is back: 3 messages sent") == 1
    assert boxes() == []


def test_the_next_run_sends_what_the_one_before_could_not(client: Client, server: Server) -> None:
    first = opened(server.uri)
    tell(first)
    server.there = True
    next_process()
    opened(server.uri, name="second").end()
    assert boxes() == []
    names = {run.info.run_name: run for run in runs(client)}
    assert names.keys() == {"noisy", "second"}
    assert names["noisy"].data.metrics == {"train_loss": 1 / 3, "same": 0.5}


def test_one_run_that_cannot_be_sent_does_not_stop_another(
    client: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first goes to a server that is gone for good, the second to a database."""
    gone = opened(server.uri)
    gone.log(metrics={"loss": 0.0}, step=1)
    next_process()
    capsys.readouterr()
    run = opened()
    run.log(metrics={"loss": 1.0}, step=1)
    run.end()
    assert points(client, "loss") == [(1, 1.0)]
    assert capsys.readouterr().err == ""
    status, said = run_upload(capsys)
    assert status == 1
    assert f"run {gone.reference.key}: 2 messages are waiting" in said


def test_the_password_of_a_server_is_used_and_kept_nowhere(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = "http://ann:s3cretpw@127.0.0.1:1/mlflow?token=t0ken"
    asked: list[str] = []

    def away(tracking_uri: str) -> Client:
        asked.append(tracking_uri)
        raise ConnectionError(f"{tracking_uri} does not know ann with s3cretpw")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(mlflow, "MlflowClient", away)
    run = opened(
        tags={
            "trained_on_store": RunReference(key="", tracking_uri=uri, experiment="", variant="").tracking_uri
        }
    )
    tell(run, model=False)
    Path("run.json").write_text(run.reference.model_dump_json())
    assert {*asked} == {uri.partition("?")[0]}
    said = capsys.readouterr().err
    status, text = run_upload(capsys)
    assert status == 1
    assert {*asked} == {uri.partition("?")[0]}
    written = [path.read_bytes().decode(errors="replace") for path in project.rglob("*") if path.is_file()]
    for secret in ("s3cretpw", "t0ken", "ann:", "ann@", " ann "):
        assert not any(secret in one for one in (*written, said, text))
    assert run.reference.tracking_uri == "http://127.0.0.1:1/mlflow"


# --- runs that go on ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["KILLED", "FAILED", None])
def test_an_interrupted_run_goes_on_as_the_same_one(status: str | None, client: Client) -> None:
    first = opened()
    for epoch in (1, 2):
        first.log(metrics={"loss": float(epoch)}, step=epoch)
    if status is not None:
        first.end(status)
        assert the_run(client).info.status == status
    next_process()
    second = Run.resume(RunReference(**first.reference.model_dump()))
    assert the_run(client).info.status == "RUNNING"
    assert [second.logged(epoch) for epoch in (1, 2, 3)] == [True, True, False]
    second.log(metrics={"loss": 3.0}, step=3)
    assert second.logged(3)
    assert [second.logged(3, {"loss": loss}) for loss in (3.0, 3.5)] == [True, False]
    second.end()
    assert points(client, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert the_run(client).info.status == "FINISHED"
    assert the_run(client).data.params == FLAT
    assert boxes() == []


def test_a_run_interrupted_while_the_server_is_away(client: Client, server: Server) -> None:
    first = opened(server.uri)
    first.log(metrics={"loss": 1.0}, step=1)
    next_process()
    second = Run.resume(first.reference)
    assert [second.logged(epoch) for epoch in (1, 2)] == [True, False]
    second.log(metrics={"loss": 2.0}, step=2)
    server.there = True
    second.end()
    assert points(client, "loss") == [(1, 1.0), (2, 2.0)]
    assert the_run(client).info.status == "FINISHED"


def test_a_finished_run_is_left_as_it_is(client: Client) -> None:
    """The process was killed between the end of its run and the end of its work."""
    first = opened()
    tell(first, model=False)
    before = everything(client, times=True)
    next_process()
    second = Run.resume(first.reference)
    assert not second.logged(1)
    tell(second, model=False)
    assert everything(client, times=True) == before
    assert boxes() == []


# --- runs that are opened again -----------------------------------------------------------------


def test_a_run_opened_again_by_its_key_keeps_its_parameters_and_tags(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    first = opened()
    tell(first)
    before = everything(client)
    next_process()
    second = opened(
        key=first.reference.key,
        name="other",
        parameters={"train": {"epochs": 9}},
        tags={"source": "x", "y": "z"},
    )
    assert everything(client) == before
    second.log(metrics={"auroc": 0.9}, files={"roc.csv": Path("file")})
    second.end()
    after = everything(client)
    assert after["metrics"] == before["metrics"] | {"auroc": [(0, 0.9)]}
    assert after["files"] == before["files"] | {"roc.csv": b"memorization"}
    kept = {"status", "name", "params", "tags", "data", "models", "outputs"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert capsys.readouterr().out == ""
    assert boxes() == []


def test_a_run_that_this_store_lacks_is_opened_anew_and_said(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(key="0123456789abcdef", name="noisy (evaluated)", tags={"trained_on_store": "elsewhere"})
    run.log(metrics={"auroc": 0.9})
    run.end()
    there = the_run(client)
    assert there.info.run_id in capsys.readouterr().out
    assert there.info.run_name == "noisy (evaluated)"
    assert there.data.params == FLAT
    assert there.data.tags[store.KEY_TAG] == "0123456789abcdef"
    assert there.data.tags["trained_on_store"] == "elsewhere"
    next_process()
    opened(key="0123456789abcdef").end()
    assert the_run(client).data.metrics == {"auroc": 0.9}
    assert capsys.readouterr().out == ""


def test_a_run_opened_again_gets_new_numbers_alone(client: Client) -> None:
    opened(key="one").end()
    for values in ({"auroc": 0.9}, {"auroc": 0.9, "more": 1.0}, {"auroc": 0.8}):
        next_process()
        run = opened(key="one")
        run.log(metrics=values)
        run.end()
    assert points(client, "auroc") == [(0, 0.8), (0, 0.9)]
    assert points(client, "more") == [(0, 1.0)]
    assert the_run(client).data.metrics["auroc"] == 0.8


def test_a_run_opened_again_while_its_training_waits_to_be_sent(client: Client, server: Server) -> None:
    first = opened(server.uri)
    tell(first, model=False)
    next_process()
    second = opened(server.uri, key=first.reference.key, parameters={"a": 1})
    second.log(metrics={"auroc": 0.9})
    server.there = True
    second.end()
    there = everything(client)
    assert there["metrics"].keys() == {"train_loss", "same", "auroc"}
    assert there["params"] == FLAT
    assert boxes() == []


def test_a_run_opened_again_on_another_store_while_its_training_waits(client: Client, server: Server) -> None:
    """The server of the training is gone; the project's own database is used instead."""
    first = opened(server.uri)
    first.end()
    next_process()
    second = opened(key=first.reference.key)
    second.log(metrics={"auroc": 0.9})
    second.end()
    assert points(client, "auroc") == [(0, 0.9)]


def test_a_mistake_when_a_run_is_opened_again_loses_nothing_of_the_training(server: Server) -> None:
    first = opened(server.uri)
    tell(first, model=False)
    before = Outbox(first.reference.key).messages()
    next_process()
    with pytest.raises(InputError):
        opened("nonsense", key=first.reference.key)
    assert Outbox(first.reference.key).messages() == before


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "nonsense",
        "mysql://nowhere/x",
        "file:///nowhere/mlruns",
        "http://[",
        "sqlite:///:memory:",
    ],
)
def test_an_address_that_is_none(uri: str) -> None:
    Path("params.yaml").write_text(f"train:\n  epochs: 1\ntracking:\n  uri: '{uri}'\n")
    with pytest.raises(InputError) as caught:
        opened(uri)
    assert str(caught.value).startswith(f"params.yaml:4: tracking.uri: the MLflow store {uri} cannot be used")
    assert boxes() == []


def test_an_address_from_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense")
    with pytest.raises(InputError, match=r"tracking\.uri: .* nonsense \(from MLFLOW_TRACKING_URI\) cannot"):
        opened()
    assert boxes() == []


def test_a_database_that_is_none() -> None:
    Path("text.db").write_text("this is no database, however long one looks at it" * 100)
    with pytest.raises(InputError, match=r"tracking\.uri: .*text\.db is no SQLite database: move it away"):
        opened("sqlite:///text.db")
    assert boxes() == []
    assert Path("text.db").read_text().startswith("this is no database")


def test_a_deleted_experiment(client: Client) -> None:
    opened().end()
    client.delete_experiment(experiment_id(client))
    next_process()
    Path("params.yaml").write_text("tracking:\n  experiment: memtrack\n")
    with pytest.raises(InputError, match=r"^params\.yaml:2: tracking\.experiment: .*'memtrack' was deleted"):
        opened()
    assert boxes() == []
    opened(experiment="another").end()


@pytest.mark.parametrize(
    ("code", "waits"),
    [
        ("PERMISSION_DENIED", False),
        ("UNAUTHENTICATED", False),
        ("INTERNAL_ERROR", True),
        ("TEMPORARILY_UNAVAILABLE", True),
    ],
)
def test_a_server_that_refuses_is_a_mistake_and_one_in_trouble_is_not(
    code: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(Client):  # type: ignore[misc]
        def get_experiment_by_name(self, name: str) -> None:
            error = MlflowException("no")
            error.error_code = code
            raise error

    monkeypatch.setattr(mlflow, "MlflowClient", Refusing)
    if waits:
        opened("http://127.0.0.1:1").end()
        assert [box.pending() for box in outbox.waiting()] == [2]
    else:
        with pytest.raises(InputError, match=r"tracking\.uri"):
            opened("http://127.0.0.1:1")
        assert boxes() == []


def test_no_store_is_made_by_looking_for_what_waits(project: Path) -> None:
    (project / "mlflow.db").unlink()
    assert outbox.waiting() == []
    assert not any(project.iterdir())


# --- refusals -----------------------------------------------------------------------------------


def refuse_files(client: Client, project: Path, name: str = "refused") -> Path:
    """An experiment whose artifacts go to a folder that cannot be made; the file that is in its place."""
    blocked = project / "blocked"
    blocked.write_text("no folder")
    client.create_experiment(name, artifact_location=(blocked / "artifacts").as_uri())
    return blocked


def test_files_that_cannot_be_sent_hold_nothing_back_and_are_said_once(
    client: Client, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = refuse_files(client, project)
    run = opened(experiment="refused")
    tell(run)
    (there,) = client.search_runs([experiment_id(client, "refused")])
    assert there.info.status == "FINISHED"
    assert there.data.metrics == {"train_loss": 1 / 3, "same": 0.5}
    said = capsys.readouterr().err
    assert said.count("7 things of the run") == 1
    assert "curvature/ids.npy, curvature/epoch_0001.npy, curvature/epoch_0002.npy and 4 more" in said
    assert "Not a directory" in said or "File exists" in said
    assert run.reference.key in said
    assert outbox.waiting() == []

    opened().end()  # another run on this store
    assert capsys.readouterr().err == ""
    status, said = run_upload(capsys)
    assert status == 1
    assert "not sent: curvature/ids.npy" in said
    blocked.unlink()
    status, said = run_upload(capsys)
    assert status == 0
    assert "6 messages sent" in said
    assert artifacts(there.info.artifact_uri)["curvature/epoch_0003.npy"] == b"curvature 3"
    assert boxes() == []


def test_names_that_mlflow_refuses_cost_these_alone(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"p{number}": number for number in range(130)}
    run = opened(parameters=many | {"a,b": 1, "c;d": 2}, tags={"source": "digits", "": "no name"})
    run.log(metrics={"loss": 1.0, "x,y": 2.0}, step=1)
    run.log(metrics={"loss": 2.0}, step=2)
    run.end()
    there = the_run(client)
    assert there.data.params == {name: str(value) for name, value in many.items()}
    assert there.data.tags["source"] == "digits"
    assert there.data.metrics == {"loss": 2.0}
    assert points(client, "loss") == [(1, 1.0), (2, 2.0)]
    assert there.info.status == "FINISHED"
    said = capsys.readouterr().err
    assert "4 things of the run" in said
    for what in ("parameter a,b", "parameter c;d", "metric x,y", "tag :"):
        assert what in said


@pytest.mark.parametrize(
    ("uri", "artifacts", "elsewhere"),
    [
        ("http://far.example:5000", "/data/mlruns/1/abc/artifacts", True),
        ("http://far.example:5000", "file:///data/mlruns/1/abc/artifacts", True),
        (
            "http://far.example:5000",
            "file://{project}/1/abc/artifacts",
            False,
        ),  # a disk that both machines have
        ("http://127.0.0.1:5000", "/data/mlruns/1/abc/artifacts", False),
        ("http://far.example:5000", "mlflow-artifacts:/1/abc/artifacts", False),
        ("http://far.example:5000", "s3://bucket/1/abc/artifacts", False),
        ("sqlite:///mlflow.db", "/data/mlruns/1/abc/artifacts", False),
    ],
)
def test_folders_of_a_server_on_another_machine(
    uri: str, artifacts: str, elsewhere: bool, project: Path
) -> None:
    assert store.on_other_disk(uri, artifacts.format(project=project)) == elsewhere


def http_error(code: int) -> Exception:
    response = requests.Response()
    response.status_code = code
    return requests.HTTPError("refused", response=response)


def mlflow_error(name: str) -> MlflowException:
    return MlflowException("no", error_code=ErrorCode.Value(name))


def plain_error(code: int) -> MlflowException:
    """What MLflow makes of a reply that is no JSON."""
    return MlflowException(
        f"API request to endpoint /x failed with error code {code} != 200. Response body: ''"
    )


@pytest.mark.parametrize(
    ("error", "is_permanent"),
    [
        (mlflow_error("INVALID_PARAMETER_VALUE"), True),
        (mlflow_error("PERMISSION_DENIED"), True),
        (mlflow_error("RESOURCE_DOES_NOT_EXIST"), True),
        (mlflow_error("NOT_IMPLEMENTED"), True),
        (mlflow_error("TEMPORARILY_UNAVAILABLE"), False),
        (mlflow_error("REQUEST_LIMIT_EXCEEDED"), False),
        (mlflow_error("INTERNAL_ERROR"), False),
        (plain_error(413), True),
        (plain_error(408), False),
        *[(http_error(code), True) for code in (400, 401, 403, 404, 409, 413, 422)],
        *[(http_error(code), False) for code in (408, 425, 429, 500, 502, 503, 504)],
        (requests.ConnectionError("refused"), False),
        (requests.Timeout("too slow"), False),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), False),
        (TimeoutError("timed out"), False),
        (ModuleNotFoundError("No module named 'boto3'"), True),
    ],
)  # fmt: skip
def test_refusals_are_told_from_what_passes(error: Exception, is_permanent: bool) -> None:
    assert refusals.permanent(error) == is_permanent


@pytest.mark.parametrize(
    ("uri", "text", "comes_back"),
    [
        ("sqlite:///mlflow.db", "(sqlite3.OperationalError) database is locked", True),
        ("sqlite:///mlflow.db", "(sqlite3.OperationalError) database or disk is full", True),
        ("sqlite:///mlflow.db", "(sqlite3.OperationalError) unable to open database file", False),
        ("postgresql://u@h/d", "connection to server at h failed: Connection refused", True),
        ("mysql+pymysql://u@h/d", "Can't connect to MySQL server on 'h' (timed out)", True),
        ("postgresql://u@h/d", 'FATAL:  password authentication failed for user "u"', False),
        ("postgresql://u@h/d", 'FATAL:  database "d" does not exist', False),
    ],
)
def test_a_database_that_is_away_is_no_mistake(uri: str, text: str, comes_back: bool) -> None:
    assert refusals.may_come_back(uri, OperationalError("SELECT 1", {}, Exception(text))) == comes_back


# --- stores that are slow or silent -------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The deadline, in seconds: one number, to be changed."""
    seconds = [0.15]
    monkeypatch.setattr(contact, "deadline", lambda: seconds[0])
    return seconds


class Silent(BaseHTTPRequestHandler):
    """Answers in a way that keeps a client busy for an hour."""

    ended = threading.Event()
    way = "bytes"
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.way == "bytes":
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 3600:
                self.wfile.write(bytes([byte]))
                if self.ended.wait(0.02):
                    return
        elif self.way == "nothing":
            self.ended.wait(60)
        else:
            self.send_response(int(self.way))
            self.send_header("Retry-After", "3600")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Silent, "ended", threading.Event())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Silent.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("way", "failed"), [("500", True), ("503", False), ("429", False)])
def test_an_internal_error_is_an_answer(
    way: str, failed: bool, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Silent, "way", way)
    with pytest.raises(MlflowException) as caught:
        Client(silent).log_batch("run", params=[Param("one", "1")])
    assert refusals.internal_error(caught.value) == failed
    with pytest.raises(MlflowException) as caught:
        Client("http://127.0.0.1:1").log_batch("run", params=[Param("one", "1")])
    assert not refusals.internal_error(caught.value)


@pytest.mark.parametrize("way", ["bytes", "nothing", "503", "429"])
@pytest.mark.usefixtures("impatient")
def test_a_store_that_keeps_one_waiting_holds_nothing_up(
    way: str, silent: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Silent, "way", way)
    start = time.monotonic()
    run = opened(silent)
    for epoch in (1, 2, 3):
        run.log(metrics={"loss": 1.0}, step=epoch)
    run.end()
    assert time.monotonic() - start < 5
    assert [box.pending() for box in outbox.waiting()] == [5]
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert f"MLflow at {silent} does not answer" in said.err
    assert said.out == ""


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "postgresql+psycopg://u@127.0.0.1:{port}/d"])
def test_a_store_that_refuses_connections_is_one_line(
    uri: str, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    run = opened(uri.format(port=server.uri.rpartition(":")[2]))
    run.log(metrics={"loss": 1.0}, step=1)
    run.end()
    assert time.monotonic() - start < 5
    said = capfd.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_slow_store_gets_each_message_once_and_in_order(
    client: Client, monkeypatch: pytest.MonkeyPatch, impatient: list[float]
) -> None:
    """The first exchange takes longer than the deadline and ends when the training is at its third epoch."""
    run, usual, released = opened(), store._Target.facts, threading.Event()
    given: list[int] = []

    def facts(target: Any, message: dict[str, Any]) -> dict[str, str]:
        assert released.wait(10)
        given.append(message["step"])
        return usual(target, message)

    with monkeypatch.context() as patched:
        patched.setattr(store._Target, "facts", facts)
        run.log(metrics={"loss": 1.0}, step=1)
        run.log(metrics={"loss": 2.0}, step=2)
        assert given == []
        impatient[0] = 60
        released.set()
        run.log(metrics={"loss": 3.0}, step=3)
        run.log(metrics={"loss": 4.0}, step=4)
    run.end()
    assert sorted(given) == given
    assert len(set(given)) == len(given)
    assert points(client, "loss") == [(epoch, float(epoch)) for epoch in (1, 2, 3, 4)]
    assert boxes() == []


def test_a_locked_database_is_waited_for(
    client: Client, project: Path, impatient: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    client.search_experiments()
    with closing(sqlite3.connect(project / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        run = opened()
        run.log(metrics={"loss": 1.0}, step=1)
        assert [box.pending() for box in outbox.waiting()] == [2]
        other.execute("rollback")
    impatient[0] = 60
    run.log(metrics={"loss": 2.0}, step=2)
    run.end()
    assert points(client, "loss") == [(1, 1.0), (2, 2.0)]
    assert the_run(client).info.status == "FINISHED"
    assert capsys.readouterr().err.count("the command continues") == 1


# --- runs and folders that are removed ----------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("files", [False, True])
def test_a_run_that_is_deleted_in_between_gets_everything_in_a_new_one(
    restarted: bool, files: bool, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("x")
    run = opened()
    for epoch in (1, 2):
        run.log(metrics={"loss": float(epoch)}, step=epoch)
    first = the_run(client).info.run_id
    client.delete_run(first)
    if restarted:
        next_process()
        run = Run.resume(run.reference)
    if files:
        run.log(files={"a/file": Path("file")})
    run.log(metrics={"loss": 3.0}, step=3)
    run.end()
    (there,) = client.search_runs([experiment_id(client)])
    history = client.get_metric_history(there.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert there.data.params == FLAT
    assert there.data.tags["source"] == "digits"
    assert there.info.status == "FINISHED"
    assert artifacts(there.info.artifact_uri) == ({"a/file": b"x"} if files else {})
    assert capsys.readouterr().err.count(f"the MLflow run {first} was deleted: a new run") == 1
    assert boxes() == []


@pytest.mark.parametrize("whole", [False, True])
def test_a_folder_that_is_removed_while_the_run_goes_on_costs_no_number(
    whole: bool, client: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(server.uri)
    run.log(metrics={"loss": 1.0}, step=1)
    shutil.rmtree(".memtrack/mlflow" if whole else f".memtrack/mlflow/{run.reference.key}")
    server.there = True
    run.log(metrics={"loss": 2.0}, step=2)
    run.end()
    assert points(client, "loss") == [(1, 1.0), (2, 2.0)]
    assert the_run(client).info.status == "FINISHED"
    assert "is gone: it was removed" in capsys.readouterr().err
    assert boxes() == []


def test_two_stages_that_log_to_one_run_at_once_lose_nothing(client: Client) -> None:
    first = opened(key="one")
    second = opened(key="one")
    second.log(metrics={"b": 2.0})
    second.end()
    first.log(metrics={"a": 1.0})
    first.end()
    assert the_run(client).data.metrics == {"a": 1.0, "b": 2.0}
    assert the_run(client).info.status == "FINISHED"
    assert boxes() == []


def test_a_replaced_run_is_closed_without_its_outbox(
    client: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened()
    run.log(metrics={"loss": 1.0}, step=1)
    shutil.rmtree(".memtrack/mlflow")
    next_process()
    Run(run.reference).abandon()
    assert the_run(client).info.status == "KILLED"
    client.set_terminated(the_run(client).info.run_id, "FINISHED")
    Run(run.reference).abandon()
    assert the_run(client).info.status == "FINISHED"
    assert capsys.readouterr().err == ""
    Run(RunReference(key="x", tracking_uri=server.uri, experiment="memtrack", variant="noisy")).abandon()
    assert "the MLflow run x" in capsys.readouterr().err


@pytest.mark.parametrize("away", [False, True])
def test_nothing_is_left_of_a_run_that_never_goes_on(away: bool, client: Client, server: Server) -> None:
    """A trial of a search that failed, and a training that another one replaces."""
    runs = [opened(server.uri), opened(server.uri)] if away else [opened(), opened()]
    runs[0].end("FAILED", final=True)
    runs[1].abandon()
    server.there = True
    for waiting in outbox.waiting():
        store.upload(waiting)
    assert boxes() == []


def test_a_damaged_outbox_of_another_variant_ends_nothing(
    client: Client, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    other = opened(server.uri)
    next_process()
    journal = Path(f".memtrack/mlflow/{other.reference.key}/journal.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b"open", b"oqen"))
    opened().end()
    assert the_run(client).info.status == "FINISHED"
    assert f"remove {journal.resolve().parent} to discard it" in capsys.readouterr().err
    status, said = run_upload(capsys)
    assert (status, said) == (0, "nothing is waiting\n")
    again = opened(server.uri, key=other.reference.key)  # its own stage is done again
    server.there = True
    again.end()
    assert len(runs(client)) == 2
