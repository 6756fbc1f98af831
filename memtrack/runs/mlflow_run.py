"""The MLflow run of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from memtrack.config.errors import InputError
from memtrack.config.json_files import read_json, write_json
from memtrack.config.params import Params
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.callbacks import Callback
from memtrack.runs.work_folder import WorkFolder
from memtrack.tracking.reference import RunReference
from memtrack.tracking.run import Run


class MlflowLogging(Callback):
    """Logs the numbers and the curvature of each epoch and, at the end, the network."""

    def __init__(self, run: Run, data: PreparedData, folder: WorkFolder) -> None:
        self._run, self._data, self._folder = run, data, folder
        self._precision: str | None = None

    @classmethod
    @contextmanager
    def opened(
        cls,
        params: Params,
        data: PreparedData,
        variant: VariantData,
        folder: WorkFolder,
        name: str,
        network: Mapping[str, Any],
    ) -> Iterator[MlflowLogging]:
        """Open the run of this training with these parameters on this store, or continue it if it was begun
        before. A run that was begun with other parameters or on another store is closed.

        `network`: what is known of the network besides its parameters; they are logged like parameters.
        """
        computed = {"training": folder.training.key, "recording": folder.recording.key}
        run = Run.of_computation(
            params, variant.name, "train", name=name,
            parameters={**params.training_run(variant.name), **({"network": network} if network else {})},
            computed=computed,
        )  # fmt: skip
        before = _reference(folder)
        if before is not None and before.key != run.reference.key:
            print(f"{variant.name}: parameters or the store changed: the MLflow run begun before is closed")
            Run(before).abandon()
        write_json(run.reference, folder.run_file)
        run.log(files={"curvature/ids.npy": folder.trajectory.folder / "ids.npy"})
        with run.ended_with_error():
            yield cls(run, data, folder)
            run.end()

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the epoch, unless it was logged before an interruption. It is logged again if it was recorded
        again in another precision."""
        trajectory, files = self._folder.trajectory, {}
        if epoch in trajectory.epochs:
            array = trajectory.file("curvature", epoch)
            files = {f"curvature/{array.name}": array}
        if not self._run.logged(epoch, metrics):
            self._run.log(files=files, metrics=metrics, step=epoch)

    def on_epoch_recorded(self, epoch: int) -> None:
        """Log the precision of the sweep, if it is new, and how it was chosen."""
        precision = self._folder.trajectory.made_from(epoch)["precision"]
        if precision != self._precision:
            self._precision = precision
            file = self._folder.precision_file
            self._run.log(
                files={"curvature/precision.json": file} if file.exists() else {},
                tags={"sweep_precision": precision},
            )

    def on_train_end(self, model: nn.Module) -> None:
        """Log the network."""
        self._run.model(model, self._data.info.shape, len(self._data.info.classes))


def _reference(folder: WorkFolder) -> RunReference | None:
    """The run that this training opened before, or None if none is known."""
    if not folder.run_file.exists():
        return None
    try:
        return read_json(RunReference, folder.run_file)
    except InputError:
        print(f"{folder.run_file}: is damaged: an MLflow run begun with other parameters is not closed")
        return None
