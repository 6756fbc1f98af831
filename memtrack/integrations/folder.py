"""The folder of a recorder.

manifest.json   the settings of the recorder, and the hashes of the files in samples/
samples/        ids, given labels, checksums of the inputs, small images, nearest neighbours by pixels
trajectory/     what was recorded, in the format of all trajectories (memtrack.core.recording.trajectory)
neighbours/     after each recorded epoch the nearest neighbours by the features of the network
evaluation/     what `memtrack evaluate` writes
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.config.errors import InputError, Problem
from memtrack.core.files import file_hash
from memtrack.core.images.pixels import Pixels
from memtrack.core.kept_files import write_array
from memtrack.core.labels.duplicates import thumbnails
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.scores.neighbours import COUNT
from memtrack.core.scores.suspicion import SUSPICION, kinds, suggested_labels
from memtrack.data.manifest import MANIFEST, KeptFolder, write_manifest
from memtrack.integrations.samples import PlainSamples
from memtrack.runs.trained_networks import directions, others

SAMPLES, TRAJECTORY, NEIGHBOURS, EVALUATION = "samples", "trajectory", "neighbours", "evaluation"
FORMAT = 1
LABELS, CHECKSUMS, IMAGES, NEAREST = (
    f"{SAMPLES}/{name}.npy" for name in ("labels", "checksums", "images", "nearest")
)
IDS = f"{TRAJECTORY}/ids.npy"
CHUNK = 4096
"""So many images are compared at once."""


def remove(folder: Path) -> None:
    """Remove what a recorder and `memtrack evaluate` wrote to a folder. Of a folder that is not a recorder's
    nothing is removed.

    Raises:
        InputError: if its manifest is damaged.
    """
    if not (folder / MANIFEST).is_file() or "settings" not in KeptFolder(folder, "remove it").made_from:
        return
    (folder / MANIFEST).unlink()
    for name in (SAMPLES, TRAJECTORY, NEIGHBOURS, EVALUATION):
        shutil.rmtree(folder / name, ignore_errors=True)


def begin(
    folder: Path,
    samples: PlainSamples,
    classes: list[str],
    settings: Mapping[str, Any],
    *,
    neighbours: bool,
) -> None:
    """Write the samples to a folder, unless they are there.

    Args:
        neighbours: whether to search for the nearest neighbours by pixels, or by the inputs of samples that
            are no images.

    Raises:
        ValueError: if the folder holds other samples, epochs with other settings, or other files.
        InputError: if it is damaged.
    """
    if (folder / MANIFEST).exists():
        _check(RecordedFolder(folder), samples, settings)
    elif folder.exists() and any(path.name not in (SAMPLES, TRAJECTORY) for path in folder.iterdir()):
        raise ValueError(f"{folder} is not the folder of a recorder: choose a new one")
    else:
        Trajectory.create(folder / TRAJECTORY, samples.ids)
        write_array(folder / LABELS, samples.labels)
        write_array(folder / CHECKSUMS, samples.checksums)
        if samples.images is not None:
            write_array(folder / IMAGES, samples.images)
    if neighbours and not (folder / NEAREST).exists():
        if samples.images is not None:
            write_array(folder / NEAREST, nearest_by_pixels(samples.images))
        elif samples.vectors is not None:
            write_array(folder / NEAREST, nearest_by_features(samples.vectors))
    made_from = {"format": FORMAT, "classes": classes, "settings": dict(settings)}
    names = (name for name in (IDS, LABELS, CHECKSUMS, IMAGES, NEAREST) if (folder / name).exists())
    write_manifest(folder, made_from, {name: folder / name for name in names})


def _check(kept: RecordedFolder, samples: PlainSamples, settings: Mapping[str, Any]) -> None:
    same = {
        "ids": kept.ids == samples.ids,
        "labels": np.array_equal(kept.labels, samples.labels),
        "inputs": np.array_equal(kept.checksums, samples.checksums),
    }
    if different := [name for name, equal in same.items() if not equal]:
        raise ValueError(
            f"{kept.folder} holds the recording of another data set (other {', '.join(different)}): choose "
            "another folder, or overwrite=True, which removes it"
        )
    found = kept.settings
    if different := [f"{name} is {value!r}, before {found.get(name)!r}" for name, value in settings.items()
                     if value != found.get(name)]:  # fmt: skip
        raise ValueError(
            f"{kept.folder} was recorded in another way ({'; '.join(different)}): choose another folder, or "
            "overwrite=True, which removes it"
        )


class RecordedFolder:
    """What a recorder wrote.

    Raises:
        InputError: if the folder is not there, is not that of a recorder, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / MANIFEST).is_file():
            text = "is not the folder of a recorder (memtrack.Recorder writes one)"
            raise InputError([Problem(folder, message=text)])
        self.kept = KeptFolder(folder, "record once more, into another folder")
        if self.kept.made_from.get("format") != FORMAT:
            raise self.kept.problem(MANIFEST, "is of another version of memtrack or not of a recorder")
        self.settings: dict[str, Any] = self.kept.made_from["settings"]
        self.trajectory = Trajectory(folder / TRAJECTORY)
        self.ids: list[str] = self._array(IDS).tolist()
        self.labels: NDArray[np.int64] = self._array(LABELS)

    @property
    def checksums(self) -> NDArray[np.uint32]:
        """Of the inputs of each sample, (N,)."""
        return self._array(CHECKSUMS)

    @property
    def identity(self) -> str:
        """A hash of the ids, the labels and the inputs."""
        return hashlib.sha256(
            "".join(self.kept.files[name] for name in (IDS, LABELS, CHECKSUMS)).encode()
        ).hexdigest()

    @cached_property
    def images(self) -> Pixels | None:
        """Small images of the samples, uint8 (N, channels, height, width); None if they are no images."""
        return self._array(IMAGES) if IMAGES in self.kept.files else None

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes: those that were given, and numbers for the others."""
        named: list[str] = self.kept.made_from["classes"]
        most = max([int(self.labels.max()), *(int(self.trajectory.load("predicted", epoch).max())
                                              for epoch in self.trajectory.epochs)])  # fmt: skip
        return [*named, *map(str, range(len(named), most + 1))]

    @cached_property
    def evidence(self) -> dict[Need, Any]:
        """What scores are computed from: the recorded epochs, and the neighbours if all epochs have them.

        Raises:
            InputError: if a recorded epoch is damaged.
        """
        for epoch in self.trajectory.epochs:
            if broken := self.trajectory.damaged(epoch):
                raise InputError([Problem(broken, message="is damaged: record this epoch once more")])
        found: dict[Need, Any] = {Need.EPOCHS: self.trajectory}
        hashes = [self.trajectory.made_from(epoch).get("neighbours") for epoch in self.trajectory.epochs]
        if NEAREST in self.kept.files and all(hashes):
            found[Need.NEIGHBOURS] = KeptNeighbours(self)
        return found

    @cached_property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """All scores that can be computed, each (N,); `suspicion` is the first if it is among them."""
        names = [
            key
            for key, score in SCORES.items()
            if score.by_default and set(score.needs) <= self.evidence.keys()
        ]
        ordered = sorted(names, key=lambda name: name != SUSPICION)
        return {name: compute(name, self.evidence) for name in ordered}

    @cached_property
    def suggested(self) -> NDArray[np.int64]:
        """The class that is suggested in place of the given label, (N,); -1 if there is none."""
        if Need.NEIGHBOURS not in self.evidence:
            return np.full(len(self.ids), -1)
        epochs, near = self.trajectory, self.evidence[Need.NEIGHBOURS]
        return suggested_labels(epochs, near, classes=len(self.classes))[0]

    @cached_property
    def kinds(self) -> NDArray[np.object_]:
        """What each sample seems to be, (N,); see `memtrack.core.scores.suspicion.kinds`."""
        if Need.NEIGHBOURS not in self.evidence:
            return np.full(len(self.ids), "", dtype=object)
        return kinds(self.trajectory, self.evidence[Need.NEIGHBOURS], classes=len(self.classes))

    def table(self) -> pd.DataFrame:
        """A row for each sample, in the order of the data set, by its id. Columns: `given_label`,
        `predicted_label` (after the last recorded epoch), `suggested_label` (-1: none), `kind`, and the
        scores."""
        return pd.DataFrame(
            {
                "given_label": self.labels,
                "predicted_label": self.trajectory.last("predicted"),
                "suggested_label": self.suggested,
                "kind": self.kinds,
                **self.scores,
            },
            index=pd.Index(self.ids, name="id"),
        )

    def _array(self, name: str) -> NDArray[Any]:
        with self.kept.reading(name) as path:
            found: NDArray[Any] = np.load(path, allow_pickle=False)
        return found


class KeptNeighbours:
    """The neighbours that a recorder found; see `memtrack.core.scores.registry.Neighbourhoods`."""

    def __init__(self, recorded: RecordedFolder) -> None:
        self.labels = self.among = recorded.labels
        self._recorded = recorded

    def nearest(self, count: int, epoch: int | None = None) -> NDArray[np.int64]:
        """The rows of the nearest other samples, (N, count) or fewer columns; there are at most 30.

        Raises:
            InputError: if the file is damaged.
        """
        recorded = self._recorded
        if epoch is None:
            found = recorded._array(NEAREST)
        else:
            path = neighbours_file(recorded.folder, epoch)
            if not path.is_file() or file_hash(path) != recorded.trajectory.made_from(epoch)["neighbours"]:
                raise InputError([Problem(path, message="is damaged: record this epoch once more")])
            found = np.load(path, allow_pickle=False)
        return found[:, :count].astype(np.int64)


def neighbours_file(folder: Path, epoch: int) -> Path:
    """Where the neighbours of an epoch are."""
    return folder / NEIGHBOURS / f"epoch_{epoch:04d}.npy"


def nearest_by_features(features: NDArray[np.float32]) -> NDArray[np.int32]:
    """The rows of the `COUNT` nearest other samples, nearest first, (N, COUNT) or fewer columns."""
    return others(directions(features), COUNT).astype(np.int32)


def nearest_by_pixels(images: Pixels) -> NDArray[np.int32]:
    """As `nearest_by_features`, by the pixels of small images."""
    parts = [thumbnails(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
    return others(np.concatenate(parts), COUNT).astype(np.int32)
