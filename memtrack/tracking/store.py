"""MLflow's tracking store. Only this module sends it the messages of an outbox."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
import yaml
from filelock import FileLock, Timeout
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import (
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModelOutput,
    Metric,
    Param,
    RunInfo,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from requests import RequestException

from memtrack.config.paths import project_root
from memtrack.tracking import outbox
from memtrack.tracking.address import complete_uri, sqlite_file, sqlite_uri
from memtrack.tracking.artifacts import artifact_location, follow_move
from memtrack.tracking.reference import RunReference
from memtrack.tracking.refusals import permanent, reason, status

KEY_TAG = "memtrack_run"
_BATCH = 100  # MLflow accepts this many parameters or tags at once
_SOME_OF_MANY = (400, 413, 422)  # for these statuses a part of the batch may be accepted


# MLflow's defaults, 7 retries with a timeout of 120 s and growing pauses, would delay a training for minutes
for _name, _value in {"MAX_RETRIES": 1, "TIMEOUT": 20, "BACKOFF_FACTOR": 0, "BACKOFF_JITTER": 0}.items():
    os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{_name}", str(_value))
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")

logging.getLogger("alembic").setLevel(logging.WARNING)  # "creating tables ..."
# these report every attempt; `Run` reports once that a store fails
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class DeletedExperiment(MlflowException):  # type: ignore[misc]
    """The experiment was deleted in MLflow, which can restore it."""


class Busy(Exception):
    """Another process is sending the messages."""


def upload(messages: outbox.Outbox, *, again: bool = False, wait: bool = True) -> int:
    """Send the store the pending messages of a run; returns the number of messages sent.

    Args:
        again: also send what the store refused before.
        wait: wait for another process that is sending them.

    Raises:
        Busy: if another process is sending them, without `wait`. FilesWait: if only files are left.
            Any other error: if the store fails. The messages sent before the error count as sent.
    """
    if messages.opening is None:
        return 0
    key = messages.folder.name
    try:
        messages.sending.acquire(blocking=wait)
    except Timeout:
        raise Busy("another process is sending them") from None
    try:  # two processes that send at once must not both open the run
        while (opening := messages.opening) and (messages.pending() or (again and messages.refused())):
            if key not in _found:
                _found[key] = _Target.of(opening)
            try:
                return messages.send(_found[key], again)
            except outbox.RunGone:
                del _found[key]
        return 0
    finally:
        if not messages.exists:  # later messages find the run in the store
            _found.pop(key, None)
        if messages.opening is None:  # another process has finished the run and removed the folder
            Path(messages.sending.lock_file).unlink(missing_ok=True)
        messages.sending.release()


def close(reference: RunReference) -> None:
    """End a run that another one replaces, if the store has it and it was not ended before."""
    client, experiment = open_experiment(reference)
    for found in _search(client, experiment, reference.key):
        if found.info.status == "RUNNING":
            client.set_terminated(found.info.run_id, "KILLED")


@dataclass
class _Target:
    """A run in a store.

    Attributes:
        uri: the address of the store. experiment, run: their ids.
        existed: whether the store already had the run.
        opening: the parameters and tags that the run lacks.
    """

    client: mlflow.MlflowClient
    uri: str
    experiment: str
    run: str
    existed: bool
    opening: list[Metric | Param | RunTag] = field(default_factory=list)

    @classmethod
    def of(cls, opening: dict[str, Any]) -> _Target:
        """The run with the key of the first message; it is created if the store does not have it."""
        reference = RunReference(**opening["record"])
        client, experiment = open_experiment(reference)
        found = _search(client, experiment, reference.key)
        if found:
            run, data = found[0].info.run_id, found[0].data
        else:
            tags = {KEY_TAG: reference.key}
            run, data = client.create_run(experiment, run_name=opening["name"], tags=tags).info.run_id, None
            if opening["expected"]:
                print(f"this MLflow store does not have the run that trained {reference.variant}: "
                      f"logging to a new run, {run}")  # fmt: skip
        lacking: list[Metric | Param | RunTag] = []
        if data is None or "variant" not in data.tags:  # those tags may be refused, so they are sent apart
            lacking += [RunTag(key, value) for key, value in opening["tags"].items()]
        if data is None or not opening["expected"] or not data.params:
            lacking += [Param(key, value) for key, value in opening["parameters"].items()]
        return cls(client, reference.tracking_uri, experiment, run, bool(found), lacking)

    def facts(self, message: dict[str, Any]) -> dict[str, str]:
        """Send everything but the files. A message that is sent twice, or values that an earlier computation
        sent, change nothing.

        Returns:
            What the store refuses for good, with the reasons.

        Raises:
            RunGone: if the run was deleted. Any other error: if the message may be accepted later.
        """
        client, run, now = self.client, self.run, message["time"]
        refused: dict[str, str] = {}
        if "open" in message:
            self._log(self.opening, refused)
        metrics = [
            Metric(key, value, now, message["step"]) for key, value in message.get("metrics", {}).items()
        ]
        for key, points in message.get("history", {}).items():
            metrics += [Metric(key, value, now, step) for step, value in points]
        with self._part("metrics", refused):
            metrics = self._new(metrics)
        tags = dict(message.get("tags", {}))
        for name, key in message.get("links", {}).items():
            with self._part(f"tag {name}", refused):
                tags[name] = _run_id(client, self.experiment, key)
        self._log([*metrics, *(RunTag(key, value) for key, value in tags.items())], refused)
        if "dataset" in message:
            with self._part("data set", refused):
                source: DatasetSource = _Folder(message["dataset"]["folder"])
                entry = MetaDataset(
                    source, name=message["dataset"]["name"], digest=message["dataset"]["digest"]
                )
                tag = InputTag(MLFLOW_DATASET_CONTEXT, "training")
                client.log_inputs(run, [DatasetInput(entry._to_mlflow_entity(), [tag])])
        with self._part("status", refused):
            match message.get("status"):
                case None:
                    pass
                case "RUNNING":
                    client.update_run(run, status="RUNNING")
                case final:
                    client.set_terminated(run, final, end_time=now)
        return refused

    def file(self, message: dict[str, Any], name: str, path: Path) -> str | None:
        """Upload a file, or the network; returns the reason if the store refuses it for good.

        Raises:
            As `facts`.
        """
        artifacts = self._info().artifact_uri
        if on_other_disk(self.uri, artifacts):
            return f"{artifacts} {_ON_ITS_DISK}"
        try:
            if message.get("model"):
                _give_model(self.client, self.experiment, self.run, path)
            else:
                self.client.log_artifact(self.run, str(path), str(Path(name).parent) if "/" in name else None)
        except Exception as error:
            self._check_refusal(error)
            local = (
                is_server(self.uri) and isinstance(error, OSError) and not isinstance(error, RequestException)
            )
            return f"{artifacts} {_ON_ITS_DISK} ({reason(error)})" if local else reason(error)
        return None

    def _log(self, entries: Sequence[Metric | Param | RunTag], refused: dict[str, str]) -> None:
        """Log metrics, parameters and tags in batches; a batch that the store refuses is halved until the
        entries that it does not accept are known."""
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            try:
                self.client.log_batch(
                    self.run,
                    metrics=[entry for entry in batch if isinstance(entry, Metric)],
                    params=[entry for entry in batch if isinstance(entry, Param)],
                    tags=[entry for entry in batch if isinstance(entry, RunTag)],
                )
            except Exception as error:
                self._check_refusal(error)
                if len(batch) > 1 and status(error) in _SOME_OF_MANY:
                    self._log(batch[: len(batch) // 2], refused)
                    self._log(batch[len(batch) // 2 :], refused)
                else:
                    refused |= {f"{_KINDS[type(entry)]} {entry.key}": reason(error) for entry in batch}

    @contextmanager
    def _part(self, name: str, refused: dict[str, str]) -> Iterator[None]:
        """Add the name to `refused` if the store refuses what the block sends."""
        try:
            yield
        except Exception as error:
            self._check_refusal(error)
            refused[name] = reason(error)

    def _check_refusal(self, error: Exception) -> None:
        """Raise the error unless it refuses the message for good."""
        if not permanent(error):
            raise error
        self._info()

    def _info(self) -> RunInfo:
        """What the store says of the run; raises `RunGone` if it was deleted."""
        try:
            info = self.client.get_run(self.run).info
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise outbox.RunGone from None
        if info.lifecycle_stage != LifecycleStage.ACTIVE:
            raise outbox.RunGone
        return info

    def _new(self, metrics: list[Metric]) -> list[Metric]:
        """The metrics that the run does not have yet with the same step and value."""
        if not self.existed or not metrics:
            return metrics
        logged = self.client.get_run(self.run).data.metrics
        known = {
            (point.key, point.step, point.value)
            for key in {metric.key for metric in metrics} & logged.keys()
            for point in self.client.get_metric_history(self.run, key)
        }
        return [metric for metric in metrics if (metric.key, metric.step, metric.value) not in known]


_KINDS = {Metric: "metric", Param: "parameter", RunTag: "tag"}

_found: dict[str, _Target] = {}
"""The run for each key, as far as this process has looked it up."""


def _search(client: mlflow.MlflowClient, experiment: str, key: str) -> list[Any]:
    return list(client.search_runs([experiment], f"tags.{KEY_TAG} = '{key}'", max_results=1))


def _run_id(client: mlflow.MlflowClient, experiment: str, key: str) -> str:
    """MLflow's id of the run with that key; the key itself if this store does not have the run."""
    found = _search(client, experiment, key)
    return found[0].info.run_id if found else key


def _give_model(client: mlflow.MlflowClient, experiment: str, run: str, folder: Path) -> None:
    """Log a model that mlflow.pytorch.save_model wrote, as log_model would."""
    made = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'")
    model = made[0] if made else client.create_logged_model(experiment, name="model", source_run_id=run)
    content = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    description = Model.from_dict(content)  # `Model.load` takes a path with ? or # in it for a URI
    description.run_id, description.model_id, description.model_uuid = run, model.model_id, model.model_id
    description.artifact_path = model.artifact_location
    description.save(folder / "MLmodel")
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run).outputs
    if outputs is None or not outputs.model_outputs:
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])


def open_experiment(reference: RunReference) -> tuple[mlflow.MlflowClient, str]:
    """A client of the store, and the id of the experiment, which is created if it does not exist.

    Raises:
        DeletedExperiment: if the experiment was deleted; other failures raise one of `ERRORS`.
    """
    uri = reference.tracking_uri
    if not is_server(uri):  # MLflow would try ten times, for 100 s; imported here because it takes a second
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = 1
    # two stages at once must not both create the tables or the experiment of a new store; a server takes
    # care of that itself, and waiting for one that does not answer would block all stages
    with nullcontext() if is_server(uri) else FileLock(project_root() / "mlflow.db.lock"):
        if (file := sqlite_file(uri)) is not None and not file.exists():
            _make_database(file, uri)
        client = mlflow.MlflowClient(tracking_uri=complete_uri(uri))
        found = client.get_experiment_by_name(reference.experiment)
        if found is None:
            folder = artifact_location(uri, reference.experiment)
            return client, str(client.create_experiment(reference.experiment, artifact_location=folder))
        follow_move(uri, reference.experiment, found.artifact_location)
    if found.lifecycle_stage == "deleted":
        raise DeletedExperiment(f"the experiment {reference.experiment!r} was deleted in MLflow")
    return client, str(found.experiment_id)


def _make_database(file: Path, uri: str) -> None:
    """Make the SQLite file of a store with all of its tables, or none at all.

    MLflow makes them one by one. If a full disk or a kill stopped it, it could never make the others.
    """
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    mlflow.MlflowClient(tracking_uri=sqlite_uri(part, uri)).search_experiments(max_results=1)
    part.replace(file)


def on_other_disk(uri: str, artifacts: str) -> bool:
    """Whether a server on another machine keeps files in a folder that this machine does not have.

    MLflow would make that folder here, where the server does not see it.
    """
    host, folder = urlsplit(uri).hostname, urlsplit(artifacts)
    if not is_server(uri) or host in ("localhost", "127.0.0.1", "::1", gethostname()):
        return False
    return folder.scheme in ("", "file") and not Path(unquote(folder.path)).parents[2].exists()


_ON_ITS_DISK = "cannot be written to from here: start the server with --serve-artifacts"


def is_server(uri: str) -> bool:
    """Whether the store is a server, not a database."""
    return uri.startswith(("http://", "https://"))


class _Folder(FileSystemDatasetSource):  # type: ignore[misc]
    """A data set's folder in the project."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def uri(self) -> str:
        return self._path

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, dst_path: str | None = None) -> str:
        """The path of the folder; `dvc pull` fetches it."""
        return self._path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> _Folder:
        return cls(str(raw_source))

    def to_dict(self) -> dict[str, str]:
        """For MLflow."""
        return {"uri": self._path}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> _Folder:
        """For MLflow."""
        return cls(source_dict["uri"])
