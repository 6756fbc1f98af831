"""The folder of a training until it is complete: .memtrack/train/VARIANT-KEY-1 in the project.

DVC removes a stage's outputs before it runs the stage, and a queued experiment runs in a copy that is
removed afterwards. Unfinished work is therefore kept outside of both, with one folder for each fingerprint
of a training: an interrupted training finds its folder and continues, and no other training touches it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from filelock import FileLock, Timeout

from memtrack.config.paths import project_root
from memtrack.core.recording.quantities import SampleArrays
from memtrack.core.recording.trajectory import Trajectory
from memtrack.data.manifest import write_manifest
from memtrack.runs.checkpoints import Checkpoints, States
from memtrack.runs.fingerprint import Fingerprint
from memtrack.runs.metrics import METRICS
from memtrack.tracking.reference import RUN

FOLDER = Path(".memtrack/train")
PRECISION = "precision.json"


class WorkFolder:
    """The checkpoints, states and trajectory of one training; complete epochs only."""

    def __init__(self, folder: Path, training: Fingerprint, recording: Fingerprint, ids: list[str]) -> None:
        self.folder = folder
        self.training = training
        self.recording = recording
        self.checkpoints = Checkpoints(folder / "checkpoints", training.key)
        self.states = States(folder / "states", training.key)
        self.trajectory = Trajectory.create(folder / f"trajectory-{recording.key}", ids)

    @property
    def run_file(self) -> Path:
        """The file that names the MLflow run of this training."""
        return self.folder / RUN

    @property
    def batch_size_file(self) -> Path:
        """The file with the batch size of the sweep that was measured to be the fastest."""
        return self.folder / f"batch_size-{self.recording.key}"

    @property
    def precision_file(self) -> Path:
        """The file of the trajectory that says how its precision was chosen, if that was measured."""
        return self.trajectory.folder / PRECISION

    @classmethod
    @contextmanager
    def claimed(
        cls, name: str, training: Fingerprint, recording: Fingerprint, ids: list[str]
    ) -> Iterator[WorkFolder]:
        """The work folder of a training, reserved for this process.

        If another process is running the same training (two queued experiments that differ in h, for
        example), this process uses a second folder.
        """
        root = project_root() / FOLDER
        stem = f"{name}-{training.key}-"
        existing = sorted(root.glob(f"{stem}*"))
        for folder in chain(existing, (root / f"{stem}{slot}" for slot in count(1))):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            try:
                if (folder / "lock").exists():  # otherwise its owner finished and removed it just now
                    yield cls(folder, training, recording, ids)
                    return
            finally:
                lock.release()

    def adopt(self, results: Path) -> None:
        """Reuse what a finished run of the same training left in `results`, without changing it."""
        published, trajectory = Checkpoints(results / "checkpoints"), Trajectory(results / "trajectory")
        if not self.training.matches(published.folder):
            return
        for epoch in published.epochs:
            if self.checkpoints.missing(epoch, weights=published.weights(epoch).exists()):
                _link(published.files(epoch), published.folder, self.checkpoints.folder)
        if not self.recording.matches(trajectory.folder):
            return
        if not self.precision_file.exists():
            _link([trajectory.folder / PRECISION], trajectory.folder, self.trajectory.folder)
        for epoch in set(trajectory.epochs) - set(self.trajectory.epochs):
            _link(trajectory.files(epoch), trajectory.folder, self.trajectory.folder)

    def record(self, epoch: int, parts: Iterable[SampleArrays], precision: str) -> None:
        """Add an epoch that is recorded from its checkpoint to the trajectory; see `Trajectory.write`."""
        self.trajectory.write(epoch, parts, self._made_from(epoch, precision))

    def recorded(self, epoch: int, precision: str) -> bool:
        """Whether the trajectory has the epoch, recorded so from the checkpoint that is here."""
        if epoch not in self.trajectory.epochs:
            return False
        return self.trajectory.made_from(epoch) == self._made_from(epoch, precision)

    def _made_from(self, epoch: int, precision: str) -> dict[str, str | None]:
        weights = self.checkpoints.metrics(epoch).weights
        return {"training": self.training.key, "weights": weights, "precision": precision}

    def repair(self) -> None:
        """Remove and report every epoch with a damaged file, so that the epoch is done again."""
        for part in (self.checkpoints, self.trajectory):
            for epoch in part.epochs:
                path = part.damaged(epoch)
                if path is not None:
                    print(f"{path}: is damaged or incomplete: epoch {epoch} is done again")
                    part.discard(epoch)

    def keep_only(self, recorded: Iterable[int], weights: Iterable[int]) -> None:
        """Remove the records and weights of all other epochs, and files of an interrupted epoch."""
        for epoch in set(self.trajectory.epochs) - set(recorded):
            self.trajectory.discard(epoch)
        for epoch in set(self.checkpoints.epochs) - set(weights):
            self.checkpoints.drop_weights(epoch)
        for part, others in ((self.checkpoints, set()), (self.trajectory, {"ids.npy", PRECISION})):
            whole = {path for epoch in part.epochs for path in part.files(epoch)}
            for path in part.folder.rglob("*"):
                if path.is_file() and path not in whole and path.name not in others:
                    path.unlink()

    def publish(self, results: Path) -> None:
        """Move the checkpoints and the trajectory to `results`, where DVC expects them, and copy run.json."""
        results.mkdir(parents=True, exist_ok=True)
        if self.run_file.exists():
            shutil.copy2(self.run_file, results / RUN)
        write_manifest(self.checkpoints.folder, self.training.causes, _records(self.checkpoints))
        files = {**_records(self.trajectory), "ids.npy": self.trajectory.folder / "ids.npy"}
        if self.precision_file.exists():
            files[PRECISION] = self.precision_file
        if (results / METRICS).exists():
            files[f"../{METRICS}"] = results / METRICS
        write_manifest(self.trajectory.folder, self.recording.causes, files)
        for source, name in ((self.checkpoints, "checkpoints"), (self.trajectory, "trajectory")):
            target = results / name
            if target.exists():
                shutil.rmtree(target)
            shutil.move(source.folder, target)

    def remove(self) -> None:
        """Remove what is published. Epochs that were recorded with other settings are kept for reuse."""
        left = [path.parents[1] for path in self.folder.glob("trajectory-*/epochs/epoch_*.json")]
        if not left:
            shutil.rmtree(self.folder)
            return
        for path in self.folder.iterdir():
            if path.is_dir() and path not in left:
                shutil.rmtree(path)
            elif path.is_file() and path.name != "lock":
                path.unlink()

    def others(self) -> list[Path]:
        """The folders of other unfinished trainings of this variant that no process is working on."""
        variant = self.folder.name.rsplit("-", 2)[0]
        found = []
        for path in sorted(self.folder.parent.glob(f"{variant}-*-*")):
            if path != self.folder and path.name.rsplit("-", 2)[0] == variant:
                with suppress(Timeout), FileLock(path / "lock", timeout=0):
                    if any(path.glob("*/epoch_*")):  # without an epoch there is nothing to continue from
                        found.append(path)
        return found


def _records(part: Checkpoints | Trajectory) -> dict[str, Path]:
    """The last file of each epoch, which holds the hashes of the others."""
    paths = (part.files(epoch)[-1] for epoch in part.epochs)
    return {path.relative_to(part.folder).as_posix(): path for path in paths}


def _link(files: Iterable[Path], source: Path, target: Path) -> None:
    """Hard-link files of the folder `source` into `target`, or copy them if that is impossible."""
    for path in files:
        if path.exists():
            second = target / path.relative_to(source)
            second.parent.mkdir(parents=True, exist_ok=True)
            second.unlink(missing_ok=True)
            try:
                os.link(path.resolve(), second)
            except OSError:
                shutil.copy2(path, second)
