"""MLflow's tracking store: what an outbox holds is brought to it here, and nowhere else."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
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

from memtrack.io import outbox
from memtrack.io.params import Section
from memtrack.io.paths import project_root

KEY_TAG = "memtrack_run"
ERRORS = (MlflowException, RequestException, SQLAlchemyError, ImportError, OSError, ValueError)
"""What MLflow raises where a store cannot be used."""

_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "ENDPOINT_NOT_FOUND", "PERMISSION_DENIED",
             "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")  # fmt: skip
_BATCH = 100  # MLflow takes so many parameters or metrics at once
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's own 7 tries of 120 s each
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # would hold a training up for minutes
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "creating tables ..."
logging.getLogger("alembic").setLevel(logging.WARNING)


class DeletedExperiment(MlflowException):  # type: ignore[misc]
    """The experiment is in MLflow's waste basket."""


class RunRecord(Section):
    """run.json: the MLflow run that training opened. The run carries `key` in the tag memtrack_run."""

    key: str
    tracking_uri: str
    experiment: str
    variant: str


def upload(messages: outbox.Outbox) -> int:
    """Bring the store up to date with a run; the number of messages sent.

    Raises:
        one of `ERRORS`: what was sent until then counts as sent.
    """
    if not messages.exists:
        return 0
    key = messages.folder.name
    with messages.lock:  # two that send at once must not both open the run
        if not messages.pending():
            return 0
        if key not in _found:
            _found[key] = _find_or_create(messages.messages()[0]["open"])
        return messages.send(partial(_give, *_found[key]))


_found: dict[str, tuple[mlflow.MlflowClient, str, str]] = {}
"""A client, the experiment and the run, for each key that this process has found."""


def _find_or_create(opening: dict[str, Any]) -> tuple[mlflow.MlflowClient, str, str]:
    record = RunRecord(**opening["record"])
    client, experiment = open_experiment(record)
    found = _search(client, experiment, record.key)
    if found:
        run = found[0].info.run_id
    else:
        run = client.create_run(experiment, run_name=opening["name"], tags=opening["tags"]).info.run_id
        if opening["expected"]:
            print(f"this MLflow store does not have the run that trained {record.variant}: "
                  f"logging to a new run, {run}")  # fmt: skip
    if not (found and opening["expected"]):
        flat = [Param(key, value) for key, value in opening["parameters"].items()]
        for start in range(0, len(flat), _BATCH):
            client.log_batch(run, params=flat[start : start + _BATCH])
    return client, experiment, run


def _search(client: mlflow.MlflowClient, experiment: str, key: str) -> list[Any]:
    return list(client.search_runs([experiment], f"tags.{KEY_TAG} = '{key}'", max_results=1))


def _run_id(client: mlflow.MlflowClient, experiment: str, key: str) -> str:
    """MLflow's id of the run with that key; the key where this store does not have the run."""
    found = _search(client, experiment, key)
    return found[0].info.run_id if found else key


def _give(client: mlflow.MlflowClient, experiment: str, run: str, message: dict[str, Any]) -> None:
    """One message; giving it twice is giving it once."""
    now = message["time"]
    metrics = [Metric(key, value, now, message["step"]) for key, value in message.get("metrics", {}).items()]
    for key, points in message.get("history", {}).items():
        metrics += [Metric(key, value, now, step) for step, value in points]
    links = {name: _run_id(client, experiment, key) for name, key in message.get("links", {}).items()}
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
        _give_model(client, experiment, run, message["files"]["model"])
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


def _give_model(client: mlflow.MlflowClient, experiment: str, run: str, folder: Path) -> None:
    """A model that mlflow.pytorch.save_model wrote, as log_model would log it."""
    made = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'")
    model = made[0] if made else client.create_logged_model(experiment, name="model", source_run_id=run)
    description = Model.load(folder)
    description.run_id, description.model_id, description.model_uuid = run, model.model_id, model.model_id
    description.artifact_path = model.artifact_location
    description.save(folder / "MLmodel")
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run).outputs
    if outputs is None or not outputs.model_outputs:
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])


def open_experiment(record: RunRecord) -> tuple[mlflow.MlflowClient, str]:
    """A client of the store, and the id of the experiment, which is made where it is not there.

    Raises:
        DeletedExperiment: or another one of `ERRORS`.
    """
    uri = record.tracking_uri
    # two stages at once must not both make the tables or the experiment of a new store; a server sees
    # to that itself, and one that does not answer would hold up everybody
    with nullcontext() if is_server(uri) else FileLock(project_root() / "mlflow.db.lock"):
        client = mlflow.MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(record.experiment)
        if found is None:
            # beside a SQLite store: MLflow's own choice is the working directory, which may be a copy
            database = uri.removeprefix("sqlite:///")
            local = database != uri
            place = (Path(database).parent / "mlruns" / record.experiment).as_uri() if local else None
            return client, str(client.create_experiment(record.experiment, artifact_location=place))
    if found.lifecycle_stage == "deleted":
        raise DeletedExperiment(f"the experiment {record.experiment!r} was deleted in MLflow")
    return client, str(found.experiment_id)


def may_come_back(uri: str, error: Exception) -> bool:
    """Whether this is a server that is away, and not one that refuses or an address that is none."""
    no_address = isinstance(error, InvalidUrlException) or type(error) is ValueError
    refused = no_address or getattr(error, "error_code", "") in _REFUSALS
    return is_server(uri) and not refused


def is_server(uri: str) -> bool:
    """Whether the store is a server, and no database."""
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
        """Where the folder is; `dvc pull` brings it."""
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
