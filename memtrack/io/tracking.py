"""Runs in MLflow: one per training, to which the later stages add."""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import yaml
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_USER

from memtrack.core.trajectory import write_array
from memtrack.io import store
from memtrack.io.outbox import FINISHED, Outbox, waiting
from memtrack.io.params import UNLOGGED, Params, TrackingParams, mistake
from memtrack.io.paths import VARIANTS_FOLDER
from memtrack.io.store import RunRecord
from memtrack.io.tracking_uri import tracking_uri

if TYPE_CHECKING:
    from torch import nn  # takes seconds, and most stages do without

LOCK_FILE = Path("dvc.lock")
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the file is long: it takes a second in Python
LONGEST = 6000
"""So many characters of a parameter or a tag are kept, as MLflow allows."""

logging.getLogger("mlflow.models.model").setLevel(logging.ERROR)  # it tries the example as JSON


@dataclass
class _Contact:
    """How a store answered last, to all runs of this process."""

    next_try: float = 0.0
    away: bool = False


_contacts: dict[str, _Contact] = {}


class Run:
    """A run in MLflow, written through an outbox: training never waits for the store, nor needs it.

    Nothing here is per sample except files.
    """

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self._outbox = Outbox(record.key)
        if self._outbox.exists and self._outbox.store != record.tracking_uri:  # it waits for another store
            digest = hashlib.sha256(record.tracking_uri.encode()).hexdigest()[:8]
            self._outbox = Outbox(f"{record.key}-{digest}")
        self._contact = _contacts.setdefault(record.tracking_uri, _Contact())

    @classmethod
    def open(
        cls,
        params: TrackingParams,
        variant: str,
        *,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        key: str | None = None,
        expected: bool = False,
    ) -> Run:
        """Start a run named `name` with flattened parameters and tags.

        Args:
            key: where this store has a run with that key, it is used.
            expected: such a run was opened before, if perhaps in another store: say where it is not here.

        Raises:
            InputError: where tracking.uri or tracking.experiment cannot be used. A server that does not
                answer is no error.
        """
        uri = tracking_uri(params)
        in_experiment = os.environ.get("DVC_EXP_NAME")
        record = RunRecord(
            key=key or uuid.uuid4().hex, tracking_uri=uri, experiment=params.experiment, variant=variant
        )
        run = cls(record)
        if time.monotonic() >= run._contact.next_try:
            run._check_store()
        run._outbox.add(
            open={
                "record": record.model_dump(),
                "name": f"{name} ({in_experiment})" if in_experiment else name,
                "parameters": {name: str(value)[:LONGEST] for name, value in flatten(parameters).items()},
                "tags": {"variant": variant, store.KEY_TAG: record.key, **project_tags(variant), **tags},
                "expected": expected,
            }
        )
        run.send()
        run._send_earlier()
        return run

    @classmethod
    def of_training(cls, params: Params, record: RunRecord, stage: str) -> Run:
        """Add to the run that training opened; where this store lacks it, one is opened for `stage`."""
        return cls.open(
            params.tracking,
            record.variant,
            name=f"{record.variant} ({stage})",
            parameters=params.model_dump(mode="json", exclude=UNLOGGED),
            tags={"trained_on_store": record.tracking_uri},
            key=record.key,
            expected=True,
        )

    @classmethod
    def resume(cls, record: RunRecord) -> Run:
        """Go on with a run that an interrupted process opened."""
        run = cls(record)
        run.log(status="RUNNING")
        return run

    def logged(self, step: int) -> bool:
        """Whether an epoch was logged before the process was interrupted."""
        return any(message.get("step") == step for message in self._outbox.messages())

    def log(
        self,
        *,
        files: Mapping[str, Path] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        **more: Any,
    ) -> None:
        """Log numbers at an epoch, files as artifacts by their names, tags, a data set, or a status.

        `links` are tags whose values are keys of other runs: MLflow gets the ids that it knows these by.
        `history` holds numbers at several epochs: for each name (epoch, number), ...

        A run that was finished, all of it sent, before the process was interrupted stays as it is.
        """
        if not self._outbox.exists:
            return
        message = {"metrics": dict(metrics), "step": step} if metrics else {}
        self._outbox.add(files, **message, **more)
        self.send()

    def array(self, name: str, values: Any) -> None:
        """Log an array as the artifact `name`.npy."""
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "array.npy"
            write_array(path, values)
            self.log(files={f"{name}.npy": path})

    def model(self, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
        """Log the network with its signature, as an exported graph (nothing is pickled).

        A network that torch cannot export is left out, and a tag says so: its checkpoint is there.
        """
        inputs = TensorSpec(np.dtype(np.float32), (-1, *shape))
        outputs = TensorSpec(np.dtype(np.float32), (-1, classes))
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            try:
                mlflow.pytorch.save_model(
                    model.cpu().eval(),
                    folder,
                    signature=ModelSignature(Schema([inputs]), Schema([outputs])),
                    input_example=np.zeros((2, *shape), dtype=np.float32),
                    pip_requirements=["torch"],
                    serialization_format="pt2",
                )
            except OSError:
                raise
            except Exception as error:  # torch.export raises many types
                self.log(tags={"model_not_logged": f"{type(error).__name__}: {error}"[:LONGEST]})
            else:
                self.log(files={"model": folder}, model=True)

    def abandon(self) -> None:
        """Close a run that another one takes the place of."""
        self.end("KILLED")
        if self._outbox.exists and not self._outbox.pending():
            self._outbox.forget()

    def end(self, status: str = FINISHED, *, insist: bool = True) -> None:
        """Close the run with a status: FINISHED, or FAILED or KILLED, after which it may be resumed.

        `insist`: ask a store that was away a moment ago once more.
        """
        if insist:
            self._contact.next_try = 0.0
        self.log(status=status)

    @contextmanager
    def ended_with_error(self) -> Iterator[None]:
        """Close the run where an error ends what is done within."""
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # the first error is the one to say
                self.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise

    def send(self) -> None:
        """Give the store what it lacks. Where it does not answer, say so once and go on.

        A store that was away is asked again so seldom that asking takes a tenth of the time at most.
        """
        if time.monotonic() < self._contact.next_try:
            return
        start = time.monotonic()
        try:
            sent = store.upload(self._outbox)
        except store.ERRORS as error:
            taken = time.monotonic() - start
            self._contact.next_try = time.monotonic() + max(2.0, 10 * taken)
            if not self._contact.away:
                self._contact.away = True
                uri = self.record.tracking_uri
                what = "does not answer" if store.may_come_back(uri, error) else "failed"
                print(
                    f"the MLflow store {uri} {what}; this goes on, and what it lacks is kept in "
                    ".memtrack/mlflow and sent when it is back: in this run, by the "
                    f"next stage, or by `python -m memtrack.upload`. MLflow says: {str(error)[:300]}",
                    file=sys.stderr,
                )
        else:
            if self._contact.away:
                print(f"the MLflow store is back: {sent} messages sent", file=sys.stderr)
            self._contact.away = False

    def _send_earlier(self) -> None:
        """What runs before this one could not send; a store that fails once is not asked again."""
        failed = {self.record.tracking_uri} if self._contact.away else set()
        for outbox in waiting():
            if outbox.store not in failed:
                try:
                    store.upload(outbox)
                except store.ERRORS:
                    failed.add(outbox.store)

    def _check_store(self) -> None:
        """`InputError` where the store cannot be used, however long one waits."""
        uri, experiment = self.record.tracking_uri, self.record.experiment
        named = " (from MLFLOW_TRACKING_URI)" if "MLFLOW_TRACKING_URI" in os.environ else ""
        try:
            store.open_experiment(self.record)
        except store.DeletedExperiment:
            text = f"the experiment {experiment!r} was deleted in MLflow: restore it or choose another name"
            raise mistake("tracking", "experiment", message=text) from None
        except store.ERRORS as error:
            if store.may_come_back(uri, error):
                return
            text = (
                f"the MLflow store {uri}{named} cannot be used: give a server (http://...), a database "
                f"(sqlite:///FILE), or null for mlflow.db in the project. MLflow says: {error}"
            )
            raise mistake("tracking", "uri", message=text[:900]) from None


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
        stages = _parsed(LOCK_FILE.read_bytes()).get("stages", {})
    except (OSError, yaml.YAMLError, AttributeError):
        return None
    outs = stages.get(stage, {}).get("outs", [])
    found = [out.get("md5") for out in outs if Path(out.get("path", "")) == path]
    return str(found[0]) if found and found[0] else None


@lru_cache(maxsize=1)
def _parsed(content: bytes) -> Any:
    return yaml.load(content, Loader=_YAML)  # a long file, asked for several times by each stage


def dataset(kind: str, variant: str) -> dict[str, str]:
    """A variant as a data set of `Run.log`, with DVC's hash of its labels."""
    folder = VARIANTS_FOLDER / variant
    digest = data_hash(f"corrupt@{variant}", folder) or "unrecorded"
    return {"name": f"{kind}-{variant}", "digest": digest[:36], "folder": str(folder)}


def project_tags(variant: str) -> dict[str, str]:
    """Where a run comes from: data version, DVC experiment, git commit, user."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    found = {
        "dvc_data_hash": data_hash("prepare", Path("data/prepared")),
        "dvc_variant_hash": data_hash(f"corrupt@{variant}", VARIANTS_FOLDER / variant),
        "dvc_experiment": os.environ.get("DVC_EXP_NAME"),
        "dvc_stage": os.environ.get("DVC_STAGE"),
        MLFLOW_GIT_COMMIT: commit,
        MLFLOW_SOURCE_NAME: os.environ.get("DVC_STAGE") or f"train {variant}",
        MLFLOW_USER: getpass.getuser(),
    }
    return {key: value for key, value in found.items() if value}
