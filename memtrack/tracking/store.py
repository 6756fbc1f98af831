"""MLflow's tracking store. Only this module sends it the messages of an outbox."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import yaml
from filelock import FileLock
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import (
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import InvalidUrlException, MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from memtrack.config.paths import project_root
from memtrack.tracking import outbox
from memtrack.tracking.address import complete_uri
from memtrack.tracking.artifacts import artifact_location, follow_move
from memtrack.tracking.reference import RunReference

KEY_TAG = "memtrack_run"
ERRORS = (MlflowException, RequestException, SQLAlchemyError, ImportError, OSError, ValueError)
"""The errors that MLflow raises if a store cannot be used."""
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "ENDPOINT_NOT_FOUND", "PERMISSION_DENIED",
             "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")  # fmt: skip
_BATCH = 100  # MLflow accepts this many parameters or tags at once


# MLflow's defaults, 7 retries with a timeout of 120 s, would delay a training for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "creating tables ..."
logging.getLogger("alembic").setLevel(logging.WARNING)


class DeletedExperiment(MlflowException):  # type: ignore[misc]
    """The experiment was deleted in MLflow, which can restore it."""


def upload(messages: outbox.Outbox) -> int:
    """Send the store the pending messages of a run; returns the number of messages sent.

    Raises:
        one of `ERRORS`: the messages sent before the error count as sent.
    """
    if not messages.exists:
        return 0
    key = messages.folder.name
    with messages.lock:  # two processes that send at once must not both open the run
        if not messages.pending():
            return 0
        if key not in _found:
            _found[key] = _Target.of(messages.messages()[0]["open"])
        sent = messages.send(_found[key].give)
        if not messages.exists:  # later messages find the run in the store
            del _found[key]
        return sent


@dataclass
class _Target:
    """A run in a store.

    Attributes:
        experiment, run: their ids. existed: whether the store already had the run.
    """

    client: mlflow.MlflowClient
    experiment: str
    run: str
    existed: bool

    @classmethod
    def of(cls, opening: dict[str, Any]) -> _Target:
        """The run with the key of the first message; it is created if the store does not have it."""
        reference = RunReference(**opening["record"])
        client, experiment = open_experiment(reference)
        found = _search(client, experiment, reference.key)
        if found:
            run = found[0].info.run_id
        else:
            run = client.create_run(experiment, run_name=opening["name"], tags=opening["tags"]).info.run_id
            if opening["expected"]:
                print(f"this MLflow store does not have the run that trained {reference.variant}: "
                      f"logging to a new run, {run}")  # fmt: skip
        if not found or not opening["expected"] or not found[0].data.params:
            flat = [Param(key, value) for key, value in opening["parameters"].items()]
            for start in range(0, len(flat), _BATCH):
                client.log_batch(run, params=flat[start : start + _BATCH])
        return cls(client, experiment, run, bool(found))

    def give(self, message: dict[str, Any]) -> None:
        """Send one message to the store. A message that is sent twice, or values that an earlier computation
        sent, change nothing."""
        client, run, now = self.client, self.run, message["time"]
        metrics = [
            Metric(key, value, now, message["step"]) for key, value in message.get("metrics", {}).items()
        ]
        for key, points in message.get("history", {}).items():
            metrics += [Metric(key, value, now, step) for step, value in points]
        metrics = self._new(metrics)
        links = {
            name: _run_id(client, self.experiment, key) for name, key in message.get("links", {}).items()
        }
        tags = [RunTag(key, value) for key, value in {**message.get("tags", {}), **links}.items()]
        for start in range(0, max(len(metrics), len(tags)), _BATCH):
            part = slice(start, start + _BATCH)
            client.log_batch(run, metrics=metrics[part], tags=tags[part])
        if "dataset" in message:
            source: DatasetSource = _Folder(message["dataset"]["folder"])
            entry = MetaDataset(source, name=message["dataset"]["name"], digest=message["dataset"]["digest"])
            tag = InputTag(MLFLOW_DATASET_CONTEXT, "training")
            client.log_inputs(run, [DatasetInput(entry._to_mlflow_entity(), [tag])])
        if message.get("model"):
            _give_model(client, self.experiment, run, message["files"]["model"])
        else:
            for name, path in message["files"].items():
                client.log_artifact(run, str(path), str(Path(name).parent) if "/" in name else None)
        match message.get("status"):
            case None:
                pass
            case "RUNNING":
                client.update_run(run, status="RUNNING")
            case status:
                client.set_terminated(run, status, end_time=now)

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
    # two stages at once must not both create the tables or the experiment of a new store; a server takes
    # care of that itself, and waiting for one that does not answer would block all stages
    with nullcontext() if is_server(uri) else FileLock(project_root() / "mlflow.db.lock"):
        client = mlflow.MlflowClient(tracking_uri=complete_uri(uri))
        found = client.get_experiment_by_name(reference.experiment)
        if found is None:
            folder = artifact_location(uri, reference.experiment)
            return client, str(client.create_experiment(reference.experiment, artifact_location=folder))
        follow_move(uri, reference.experiment, found.artifact_location)
    if found.lifecycle_stage == "deleted":
        raise DeletedExperiment(f"the experiment {reference.experiment!r} was deleted in MLflow")
    return client, str(found.experiment_id)


def may_come_back(uri: str, error: Exception) -> bool:
    """Whether the store is a server that is unreachable, not one that refuses or an invalid address."""
    no_address = isinstance(error, InvalidUrlException) or type(error) is ValueError
    refused = no_address or getattr(error, "error_code", "") in _REFUSALS
    return is_server(uri) and not refused


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
