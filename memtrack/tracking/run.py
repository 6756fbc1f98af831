"""Runs in MLflow: one per training, to which the later stages add their results."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from memtrack.config.params import Params
from memtrack.config.sections.tracking import TrackingParams
from memtrack.core.kept_files import write_array
from memtrack.tracking import store
from memtrack.tracking.address import experiment_name, reported, sqlite_file, tracking_uri
from memtrack.tracking.contact import contact
from memtrack.tracking.journal import Message
from memtrack.tracking.outbox import FINISHED, FilesWait, Outbox, listed, waiting
from memtrack.tracking.provenance import dataset, project_tags
from memtrack.tracking.reference import RunReference
from memtrack.tracking.refusals import ERRORS, NoAnswer, may_come_back, reason

if TYPE_CHECKING:
    from torch import nn  # the import takes seconds, and most stages do not need it

LONGEST = 6000
"""The maximum length of a parameter or tag in MLflow, in characters; longer ones are cut."""


logging.getLogger("mlflow.models.model").setLevel(logging.ERROR)  # it warns about JSON examples


class Run:
    """A run in MLflow, written through an outbox: training neither needs the store nor waits for it.

    Per-sample values are logged only as files.
    """

    def __init__(self, reference: RunReference) -> None:
        self.reference = reference
        self._outbox = Outbox(reference.key)
        if self._outbox.opening is not None and self._outbox.store != reference.tracking_uri:
            digest = hashlib.sha256(reference.tracking_uri.encode()).hexdigest()[:8]
            self._outbox = Outbox(f"{reference.key}-{digest}")  # the other one serves another store
        self._contact = contact(reference.tracking_uri)
        self._told: list[Message] = self._outbox.messages() if self._outbox.exists else []

    @classmethod
    def open(
        cls,
        params: TrackingParams,
        variant: str,
        *,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        key: str,
        expected: bool = False,
    ) -> Run:
        """Open the run with the key `key`. If the store does not have it, it is created, named `name`, with
        flattened parameters and tags.

        Args:
            expected: the run was opened before, perhaps in another store; report if this store lacks it.

        Raises:
            InputError: if tracking.uri or tracking.experiment cannot be used. A server that does not
                answer is not an error.
        """
        uri = tracking_uri(params)
        in_experiment = os.environ.get("DVC_EXP_NAME")
        experiment = experiment_name(params)
        reference = RunReference(key=key, tracking_uri=uri, experiment=experiment, variant=variant)
        run = cls(reference)
        check_store(params)
        run._add(
            open={
                "record": reference.model_dump(),
                "name": f"{name} ({in_experiment})" if in_experiment else name,
                "parameters": {name: str(value)[:LONGEST] for name, value in flatten(parameters).items()},
                "tags": {"variant": variant, store.KEY_TAG: reference.key, **project_tags(variant), **tags},
                "expected": expected,
            }
        )
        run.send()
        run._send_earlier()
        return run

    @classmethod
    def of_computation(
        cls,
        params: Params,
        variant: str,
        what: str,
        *,
        name: str,
        parameters: Mapping[str, Any],
        computed: Mapping[str, str],
    ) -> Run:
        """The run of a computation on a variant. The same computation with the same parameters and the same
        store always has the same run, also after an interruption or when it is repeated.

        Args:
            what: the name of the computation, such as "train".
            computed: the keys of the fingerprints of the computation.
        """
        store_of_run = [tracking_uri(params.tracking), experiment_name(params.tracking)]
        causes = json.dumps([computed, parameters, store_of_run], sort_keys=True)
        key = f"{what}-{variant}-{hashlib.sha256(causes.encode()).hexdigest()[:12]}"
        begun = cls.resume(
            RunReference(key=key, tracking_uri=store_of_run[0], experiment=store_of_run[1], variant=variant)
        )
        if begun._outbox.exists:
            return begun
        run = cls.open(
            params.tracking,
            variant,
            name=name,
            parameters=parameters,
            tags={"source": params.data.kind},
            key=key,
        )
        run.log(dataset=dataset(params.data.kind, variant), status="RUNNING")
        return run

    @classmethod
    def resume(cls, reference: RunReference) -> Run:
        """Resume a run that an interrupted process opened; if the run had finished, nothing is logged."""
        run = cls(reference)
        run.log(status="RUNNING")
        return run

    @classmethod
    def of_finished_training(cls, params: Params, reference: RunReference, stage: str) -> Run:
        """The run that training opened; if this store lacks it, a new one is opened for `stage`."""
        return cls.open(
            params.tracking,
            reference.variant,
            name=f"{reference.variant} ({stage})",
            parameters=params.training_run(reference.variant),
            tags={"trained_on_store": reference.tracking_uri},
            key=reference.key,
            expected=True,
        )

    def logged(self, step: int, metrics: Mapping[str, float] | None = None) -> bool:
        """Whether metrics of the epoch `step`, or these, were logged before the process was interrupted."""
        return any(
            message.get("step") == step and (metrics is None or message["metrics"] == dict(metrics))
            for message in self._outbox.messages()
        )

    def log(
        self,
        *,
        files: Mapping[str, Path] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        **more: Any,
    ) -> None:
        """Log metrics at an epoch, files as artifacts under their names, tags, a data set, or a status.

        `links` are tags whose values are keys of other runs; MLflow gets the ids of those runs.
        `history` has metrics at several epochs: for each name a list of (epoch, value).

        A run that was finished and completely sent before the process was interrupted does not change.
        """
        if self._tell(files, {"metrics": dict(metrics), "step": step} if metrics else {}, more):
            self.send()

    def results(
        self,
        files: Mapping[str, Path],
        metrics: Mapping[str, float],
        arrays: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Log the results of a stage, each array as the artifact NAME.npy, and end the run; see `log`."""
        with tempfile.TemporaryDirectory() as temporary:
            written = {f"{name}.npy": Path(temporary) / f"{name}.npy" for name in arrays or {}}
            for path, values in zip(written.values(), (arrays or {}).values(), strict=True):
                write_array(path, values)
            self.log(files={**written, **files}, metrics=metrics, **more)
        self.end()

    def model(self, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
        """Log the network with its signature, as an exported graph (nothing is pickled).

        If torch cannot export the network, the tag model_not_logged has the reason; the checkpoint exists.
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
        """Close a run that another run replaces."""
        if self._told:
            self.end("KILLED", final=True)
            return
        try:  # its outbox was removed, or it was finished
            self._contact.ask(lambda: store.close(self.reference))
        except Exception as error:
            print(
                f"the MLflow run {self.reference.key} in {self.reference.tracking_uri} could not be closed: "
                f"{reason(error)}",
                file=sys.stderr,
            )

    def end(self, status: str = FINISHED, *, insist: bool = True, final: bool = False) -> None:
        """Close the run with a status: FINISHED, or FAILED or KILLED, after which it may be resumed. What the
        store refused is reported.

        Args:
            insist: try the store again even if it did not answer a moment ago, and wait as long as it accepts
                messages.
            final: the run will not be resumed whatever its status is.
        """
        if not self._tell(None, {"final": True} if final else {}, {"status": status}):
            return
        if insist:
            self._contact.next_try = 0.0
        self.send(insist=insist)
        if final or status == FINISHED:
            self._told = []
        report_refused(self._outbox)

    @contextmanager
    def ended_with_error(self) -> Iterator[None]:
        """Close the run if an error ends the block."""
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # report the first error
                self.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise

    def send(self, *, insist: bool = False) -> None:
        """Send the pending messages to the store. If it does not answer, report this once and continue.

        Further attempts are spaced so that they take at most a tenth of the time.

        Args:
            insist: wait as long as the store accepts messages, instead of once for its deadline.
        """
        if time.monotonic() < self._contact.next_try:
            return
        start = time.monotonic()
        try:
            sent = self._contact.ask(lambda: store.upload(self._outbox), self._outbox, insist=insist)
        except Exception as error:
            _report_failure(self.reference.tracking_uri, error, start)
        else:
            if self._contact.away:
                print(f"the MLflow store is back: {sent} messages sent", file=sys.stderr)
            self._contact.away = False
            if time.monotonic() - start > 2.0:
                self._contact.next_try = _next_try(start)

    def _tell(
        self, files: Mapping[str, Path] | None, message: Mapping[str, Any], more: Mapping[str, Any]
    ) -> bool:
        """Add a message, unless the run was finished before; whether it was added."""
        if not self._told:
            return False
        with self._outbox.locked():
            if not self._outbox.exists:
                print(
                    f"{self._outbox.folder} is gone: it was removed, or another stage has finished the run. "
                    "The numbers of the run are sent again",
                    file=sys.stderr,
                )
                for earlier in self._told:
                    again = earlier.keys() - {"files", "status", "place"}
                    self._outbox.add(**{name: earlier[name] for name in again})
            self._add(files, **message, **more)
        return True

    def _add(self, files: Mapping[str, Path] | None = None, **message: Any) -> None:
        self._told.append(self._outbox.add(files, **message))

    def _send_earlier(self) -> None:
        """Send what earlier runs could not send; a store that fails is not tried again at once."""
        for outbox in waiting():
            connection, start = contact(outbox.store), time.monotonic()
            if start < connection.next_try or outbox.folder == self._outbox.folder:
                continue
            try:
                connection.ask(partial(store.upload, outbox, wait=False), outbox)
            except store.Busy:
                continue
            except Exception:
                connection.next_try = _next_try(start)
            report_refused(outbox)


def check_store(params: TrackingParams) -> None:
    """Raise an `InputError` if the store cannot be used, no matter how long one waits.

    A stage that opens a run at its end calls this before it computes.
    """
    uri, experiment = tracking_uri(params), experiment_name(params)
    connection, start = contact(uri), time.monotonic()
    if start < connection.next_try:
        return
    named = " (from MLFLOW_TRACKING_URI)" if "MLFLOW_TRACKING_URI" in os.environ else ""
    place = RunReference(key="", tracking_uri=uri, experiment=experiment, variant="")
    try:
        connection.ask(lambda: store.open_experiment(place))
    except store.DeletedExperiment:
        named = " (from MLFLOW_EXPERIMENT_NAME)" if os.environ.get("MLFLOW_EXPERIMENT_NAME") else ""
        what = f"the experiment {experiment!r}{named}"
        text = f"{what} was deleted in MLflow: restore it or choose another name"
        raise params.mistake("experiment", message=text) from None
    except (NoAnswer, *ERRORS) as error:
        if may_come_back(uri, error):
            _report_failure(uri, error, start)
            return
        if "file is not a database" in str(error):
            text = f"{sqlite_file(uri)}{named} is no SQLite database: move it away, or give another file"
            raise params.mistake("uri", message=text) from None
        text = (
            f"the MLflow store {uri}{named} cannot be used: give a server (http://...), a database "
            "(sqlite:///FILE), or null for mlflow.db in the project. MLflow reports: " + reported(error)
        )
        raise params.mistake("uri", message=text[:900]) from None


def _report_failure(uri: str, error: Exception, start: float) -> None:
    """Report once that a store failed, and ask it again later."""
    connection = contact(uri)
    connection.next_try = _next_try(start)
    if connection.away:
        return
    connection.away = True
    if isinstance(error, FilesWait):
        what = "takes no files"
    elif "is locked" in str(error):
        what = "is locked by another program"
    else:
        what = "does not answer" if may_come_back(uri, error) else "failed"
    print(
        f"MLflow at {uri} {what}; the command continues. What the store lacks is kept in "
        ".memtrack/mlflow and sent when the store is back: by this run, by the next stage, or by "
        f"`python -m memtrack.upload`. MLflow reports: {reason(error)}",
        file=sys.stderr,
    )


def _next_try(start: float) -> float:
    """When to ask a store again that was asked at `start` and was slow or failed."""
    now = time.monotonic()
    return now + max(2.0, 10 * (now - start))


def report_refused(outbox: Outbox) -> None:
    """Say what could not be sent of a run, and why."""
    if refused := outbox.refused():
        lines = "".join(f"\n  {line}" for line in listed(refused))
        print(
            f"{len(refused)} things of the run {outbox.folder.name} could not be sent to MLflow. They are "
            f"kept in {outbox.folder}; `memtrack upload` tries them again:{lines}",
            file=sys.stderr,
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested parameters into dotted keys: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = isinstance(value, Mapping)
        flat.update(flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value})
    return flat
