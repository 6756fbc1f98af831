"""Runs in MLflow: one per training, to which the later stages add."""

from __future__ import annotations

import getpass
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from filelock import FileLock
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, LoggedModel, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from memtrack.core.trajectory import write_array
from memtrack.io.params import Section, TrackingParams, mistake
from memtrack.io.paths import project_root
from memtrack.io.problems import InputError
from memtrack.io.tracking_uri import tracking_uri
from memtrack.io.yaml_file import read_yaml

LOCK_FILE = Path("dvc.lock")
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # "creating tables ..."
logging.getLogger("mlflow.models.model").setLevel(logging.ERROR)  # it tries the example as JSON
logging.getLogger("alembic").setLevel(logging.WARNING)

_BATCH = 100  # MLflow takes so many parameters or metrics at once
_LONGEST = 6000  # and so many characters of a parameter


class RunRecord(Section):
    """run.json: the MLflow run that training opened."""

    run_id: str
    tracking_uri: str
    experiment: str
    variant: str


class Run:
    """An open run. Nothing here is per sample except files."""

    def __init__(self, client: mlflow.MlflowClient, record: RunRecord) -> None:
        self.client = client
        self.record = record

    @property
    def id(self) -> str:
        """MLflow's id of the run."""
        return self.record.run_id

    @classmethod
    def open(
        cls,
        params: TrackingParams,
        variant: str,
        *,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> Run:
        """Start a run named `name` with flattened parameters and tags."""
        client, uri = _connect(params)
        with _one_at_a_time():
            experiment = _experiment(client, params.experiment, uri)
        in_experiment = os.environ.get("DVC_EXP_NAME")
        shown = f"{name} ({in_experiment})" if in_experiment else name
        run = client.create_run(experiment, run_name=shown)
        record = RunRecord(
            run_id=run.info.run_id, tracking_uri=uri, experiment=params.experiment, variant=variant
        )
        opened = cls(client, record)
        flat = [Param(key, str(value)[:_LONGEST]) for key, value in flatten(parameters).items()]
        for start in range(0, len(flat), _BATCH):
            client.log_batch(run.info.run_id, params=flat[start : start + _BATCH])
        opened.tag({"variant": variant, **project_tags(variant), **tags})
        return opened

    @classmethod
    def find(cls, params: TrackingParams, record: RunRecord) -> Run | None:
        """The run of `record` on the present store, or None if that store does not have it."""
        client, uri = _connect(params)
        try:
            run = client.get_run(record.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if run.info.lifecycle_stage == "deleted":
            return None
        return cls(client, record.model_copy(update={"tracking_uri": uri}))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tags.items()])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at an epoch."""
        now = int(time.time() * 1000)
        entries = [Metric(key, value, now, step) for key, value in values.items()]
        self.client.log_batch(self.id, metrics=entries)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact."""
        self.client.log_artifact(self.id, str(path), folder)

    def array(self, name: str, values: Any) -> None:
        """Log an array as the artifact `name`.npy."""
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / f"{Path(name).name}.npy"
            write_array(path, values)
            self.file(path, str(Path(name).parent))

    def dataset(self, name: str, digest: str, folder: Path) -> None:
        """Log the data set as an input."""
        source: DatasetSource = _Folder(str(folder))
        entry = MetaDataset(source, name=name, digest=digest[:36])
        tag = InputTag(MLFLOW_DATASET_CONTEXT, "training")
        self.client.log_inputs(self.id, [DatasetInput(entry._to_mlflow_entity(), [tag])])

    def model(self, model: nn.Module, shape: tuple[int, ...], classes: int) -> LoggedModel | None:
        """Log the network with its signature, as an exported graph (nothing is pickled).

        A network that torch cannot export is left out, and a tag says so: its checkpoint is there.
        """
        inputs = TensorSpec(np.dtype(np.float32), (-1, *shape))
        outputs = TensorSpec(np.dtype(np.float32), (-1, classes))
        model = model.cpu().eval()
        try:
            with mlflow.start_run(run_id=self.id, log_system_metrics=False):
                return mlflow.pytorch.log_model(
                    model,
                    name="model",
                    signature=ModelSignature(Schema([inputs]), Schema([outputs])),
                    input_example=np.zeros((2, *shape), dtype=np.float32),
                    pip_requirements=["torch"],
                    serialization_format="pt2",
                )
        except MlflowException:
            raise
        except Exception as error:  # torch.export raises many types
            self.tag({"model_not_logged": f"{type(error).__name__}: {error}"[:_LONGEST]})
            return None

    def end(self, status: str = "FINISHED") -> None:
        """Close the run with a status: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.id, status)


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


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters with dots in their keys: {"a": {"b": 1}} is {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        flat.update(flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value})
    return flat


def data_hash(stage: str, path: Path) -> str | None:
    """DVC's hash of an output as dvc.lock has it, or None before DVC has recorded one."""
    try:
        stages = read_yaml(LOCK_FILE).content.get("stages", {})
    except InputError:
        return None
    outs = stages.get(stage, {}).get("outs", [])
    found = [out.get("md5") for out in outs if Path(out.get("path", "")) == path]
    return str(found[0]) if found and found[0] else None


def project_tags(variant: str) -> dict[str, str]:
    """Where a run comes from: data version, DVC experiment, git commit, user."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    found = {
        "dvc_data_hash": data_hash("prepare", Path("data/prepared")),
        "dvc_variant_hash": data_hash(f"corrupt@{variant}", Path("data/variants") / variant),
        "dvc_experiment": os.environ.get("DVC_EXP_NAME"),
        "dvc_stage": os.environ.get("DVC_STAGE"),
        MLFLOW_GIT_COMMIT: commit,
        MLFLOW_SOURCE_NAME: os.environ.get("DVC_STAGE") or f"train {variant}",
        MLFLOW_USER: getpass.getuser(),
    }
    return {key: value for key, value in found.items() if value}


def _one_at_a_time() -> FileLock:
    """Two stages at once must not both create the tables or the experiment of a new store."""
    return FileLock(project_root() / "mlflow.db.lock")


def _connect(params: TrackingParams) -> tuple[mlflow.MlflowClient, str]:
    """A client of the present store and its URI; `InputError` where it does not answer."""
    uri = tracking_uri(params)
    from_environment = "MLFLOW_TRACKING_URI" in os.environ  # the next line would set it
    mlflow.set_tracking_uri(uri)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # MLflow's 7 take minutes
    try:
        with _one_at_a_time():
            client = mlflow.MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    except (MlflowException, ImportError, OSError, SQLAlchemyError) as error:
        named = " (from MLFLOW_TRACKING_URI)" if from_environment else ""
        text = (
            f"the MLflow store {uri}{named} cannot be used: give a server (http://...), a database "
            f"(sqlite:///FILE), or null for mlflow.db in the project. MLflow says: {error}"
        )
        raise mistake("tracking", "uri", message=text[:900]) from None
    return client, uri


def _experiment(client: mlflow.MlflowClient, name: str, uri: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            text = f"the experiment {name!r} was deleted in MLflow: restore it or choose another name"
            raise mistake("tracking", "experiment", message=text)
        return str(found.experiment_id)
    # beside a SQLite store: MLflow's own choice is the working directory, which may be a copy
    database = uri.removeprefix("sqlite:///")
    place = (Path(database).parent / "mlruns" / name).as_uri() if database != uri else None
    return str(client.create_experiment(name, artifact_location=place))
