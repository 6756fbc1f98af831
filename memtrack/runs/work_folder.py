"""Where a training lives until it is whole: .memtrack/train/VARIANT-KEY-1 in the project.

DVC removes a stage's outputs before it runs the stage, and a queued experiment runs in a copy that is
removed afterwards. What is half done is therefore kept apart from both, one folder for each fingerprint
of a training: an interrupted training is found again and goes on; another one does not touch it.
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
from memtrack.core.recording.trajectory import Trajectory
from memtrack.runs.checkpoints import Checkpoints, States
from memtrack.runs.fingerprint import Fingerprint

FOLDER = Path(".memtrack/train")
TRAINING, RECORDING, RUN = "training.json", "recording.json", "run.json"


class WorkFolder:
    """The checkpoints, states and trajectory of one training, whole epochs only."""

    def __init__(self, folder: Path, training: Fingerprint, recording: Fingerprint, ids: list[str]) -> None:
        self.folder = folder
        self.training = training
        self.recording = recording
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.states = States(folder / "states")
        self.trajectory = Trajectory.create(folder / f"trajectory-{recording.key}", ids)
        training.write(self.checkpoints.folder / TRAINING)
        recording.write(self.trajectory.folder / RECORDING)

    @property
    def run(self) -> Path:
        """The file that names the MLflow run of this training."""
        return self.folder / RUN

    @property
    def batch_size(self) -> Path:
        """The batch size of the sweep that was measured to be the fastest."""
        return self.folder / f"batch_size-{self.recording.key}"

    @classmethod
    @contextmanager
    def claimed(
        cls, name: str, training: Fingerprint, recording: Fingerprint, ids: list[str]
    ) -> Iterator[WorkFolder]:
        """The workplace of a training, for this process alone while it lives.

        If another process is at the same training (two queued experiments that differ in h, say), this
        one works beside it.
        """
        root = project_root() / FOLDER
        stem = f"{name}-{training.key}-"
        there = sorted(root.glob(f"{stem}*"))
        for folder in chain(there, (root / f"{stem}{slot}" for slot in count(1))):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock", timeout=0)
            with suppress(Timeout), lock:
                if not (folder / "lock").exists():  # its owner finished between our two steps
                    continue
                yield cls(folder, training, recording, ids)
                return

    def adopt(self, results: Path) -> None:
        """Take over what a finished run of the same training left in `results`, without touching it."""
        published, trajectory = Checkpoints(results / "checkpoints"), Trajectory(results / "trajectory")
        if not self.training.matches(published.folder / TRAINING):
            return
        for epoch in published.epochs:
            if self.checkpoints.missing(epoch, weights=published.weights(epoch).exists()):
                _link(published.files(epoch), published.folder, self.checkpoints.folder)
        if not self.recording.matches(trajectory.folder / RECORDING):
            return
        for epoch in set(trajectory.epochs) - set(self.trajectory.epochs):
            _link(trajectory.files(epoch), trajectory.folder, self.trajectory.folder)

    def repair(self) -> None:
        """Remove every epoch of which a file is not what was written, and say so: it is made again."""
        for part in (self.checkpoints, self.trajectory):
            for epoch in part.epochs:
                path = part.damaged(epoch)
                if path is not None:
                    print(f"{path}: is damaged or was not written to its end: epoch {epoch} is done again")
                    part.discard(epoch)

    def keep_only(self, recorded: Iterable[int], weights: Iterable[int]) -> None:
        """Remove records and weights of other epochs, and what an interrupted epoch has left."""
        for epoch in set(self.trajectory.epochs) - set(recorded):
            self.trajectory.discard(epoch)
        for epoch in set(self.checkpoints.epochs) - set(weights):
            self.checkpoints.drop_weights(epoch)
        for part, others in ((self.checkpoints, {TRAINING}), (self.trajectory, {RECORDING, "ids.npy"})):
            whole = {path for epoch in part.epochs for path in part.files(epoch)}
            for path in part.folder.rglob("*"):
                if path.is_file() and path not in whole and path.name not in others:
                    path.unlink()

    def publish(self, results: Path) -> None:
        """Move the checkpoints, the trajectory and run.json to `results`, where DVC expects them."""
        results.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.run, results / RUN)
        for source, name in ((self.checkpoints, "checkpoints"), (self.trajectory, "trajectory")):
            target = results / name
            if target.exists():
                shutil.rmtree(target)
            shutil.move(source.folder, target)

    def remove(self) -> None:
        """Everything is published. Epochs that were recorded with other settings stay for these."""
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
        """Where other trainings of this variant were left unfinished and nobody is at work."""
        variant = self.folder.name.rsplit("-", 2)[0]
        found = []
        for path in sorted(self.folder.parent.glob(f"{variant}-*-*")):
            if path != self.folder and path.name.rsplit("-", 2)[0] == variant:
                with suppress(Timeout), FileLock(path / "lock", timeout=0):
                    if any(path.glob("*/epoch*")):  # one that has no epoch yet left nothing to go on from
                        found.append(path)
        return found


def _link(files: Iterable[Path], source: Path, target: Path) -> None:
    """Give files of a folder a second name in another one, or copy them where that cannot be."""
    for path in files:
        if path.exists():
            second = target / path.relative_to(source)
            second.parent.mkdir(parents=True, exist_ok=True)
            second.unlink(missing_ok=True)
            try:
                os.link(path.resolve(), second)
            except OSError:
                shutil.copy2(path, second)
