"""The network after each epoch, and the states from which an interrupted training continues."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import StrictModel, read_json
from memtrack.config.params import Params
from memtrack.config.sections.train import TrainParams
from memtrack.core.files import file_hash, whole_file
from memtrack.core.kept_files import epochs_in, sealed, unsealed
from memtrack.data.manifest import KeptFolder
from memtrack.data.prepared import DatasetInfo
from memtrack.data.variants import VariantData
from memtrack.runs.causes import training_causes
from memtrack.runs.networks import training_network

KEPT_STATES = 2


class EpochMetrics(StrictModel):
    """The numbers of training for an epoch. Stored beside the network's weights, whose sha256 it holds, with
    the epoch and the key of the training's fingerprint. `random_label_drop` is None if it was not measured
    (`record.susceptibility`)."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float
    learning_rate: float
    random_label_drop: float | None = None
    weights: str | None = None
    epoch: int = 0
    training: str = ""

    def numbers(self) -> dict[str, float]:
        """The numbers of the training alone."""
        return self.model_dump(exclude={"random_label_drop", "weights", "epoch", "training"})


class Checkpoints:
    """A folder with `epoch_0003.json` and, if the weights are kept, `epoch_0003.safetensors` per epoch.

    Args:
        training: the key of the training that they belong to; None: of any. A checkpoint of another training
            counts as damaged.
    """

    def __init__(self, folder: Path, training: str | None = None) -> None:
        self.folder = folder
        self._training = training

    def weights(self, epoch: int) -> Path:
        """The path of the weights after `epoch`."""
        return self.folder / f"epoch_{epoch:04d}.safetensors"

    def _metrics(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:04d}.json"

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that exist, in ascending order."""
        return tuple(sorted(epochs_in(self.folder, ".json")))

    def files(self, epoch: int) -> list[Path]:
        """The files that an epoch may have. The last one is written last and completes the epoch."""
        return [self.weights(epoch), self._metrics(epoch)]

    def write(self, epoch: int, metrics: EpochMetrics, model: nn.Module | None) -> None:
        """Write an epoch's metrics and, if `model` is given, its weights; completely or not at all."""
        digest = None
        if model is not None:
            save_weights(model, self.weights(epoch))
            digest = file_hash(self.weights(epoch))
        with whole_file(self._metrics(epoch)) as file:
            belongs = {"epoch": epoch, "training": self._training or metrics.training}
            kept = metrics.model_copy(update={"weights": digest, **belongs})
            file.write(kept.model_dump_json(indent=2).encode() + b"\n")
        if model is None:
            self.weights(epoch).unlink(missing_ok=True)

    def metrics(self, epoch: int) -> EpochMetrics:
        """The stored metrics of `epoch`."""
        return read_json(EpochMetrics, self._metrics(epoch))

    def load(self, epoch: int, model: nn.Module) -> None:
        """Load the weights after `epoch` into `model`."""
        load_model(model, self.weights(epoch))

    def drop_weights(self, epoch: int) -> None:
        """Delete the weights of an epoch; its metrics are kept."""
        self.write(epoch, self.metrics(epoch), None)

    def missing(self, epoch: int, *, weights: bool, random_label_drop: bool = False) -> bool:
        """Whether the epoch does not exist, or lacks its weights or that number although they are asked
        for."""
        wanted = self.files(epoch) if weights else self.files(epoch)[1:]
        if not all(path.exists() for path in wanted):
            return True
        return random_label_drop and self.metrics(epoch).random_label_drop is None

    def damaged(self, epoch: int) -> Path | None:
        """The first file of an epoch whose content is not what was written, or None if all are intact."""
        try:
            stored = self.metrics(epoch)
        except InputError:
            return self._metrics(epoch)
        if stored.epoch != epoch or self._training not in (None, stored.training):
            return self._metrics(epoch)
        path, expected = self.weights(epoch), stored.weights
        if expected is None:
            return None
        return None if path.is_file() and file_hash(path) == expected else path

    def discard(self, epoch: int) -> None:
        """Delete the files of an epoch."""
        for path in reversed(self.files(epoch)):
            path.unlink(missing_ok=True)


def trained_checkpoints(params: Params, variant: VariantData, folder: Path, *, remedy: str) -> Checkpoints:
    """The checkpoints of a finished training; `InputError`, ending with `remedy`, if they were trained on
    another variant or with other parameters, or are damaged."""
    kept = KeptFolder(folder, remedy)
    kept.require(**training_causes(params, variant))
    kept.check_all()
    return Checkpoints(folder)


def trained_network(
    train: TrainParams, info: DatasetInfo, checkpoints: Checkpoints, epoch: int, *, remedy: str
) -> nn.Module:
    """The network after an epoch; `InputError`, ending with `remedy`, if its file is missing or damaged."""
    broken = checkpoints.damaged(epoch)
    if broken is not None:
        raise InputError([Problem(broken, message=f"is damaged: {remedy}")])
    if checkpoints.missing(epoch, weights=True):
        raise InputError([Problem(checkpoints.weights(epoch), message=f"is not there: {remedy}")])
    model = training_network(train.model, info, train)
    try:
        checkpoints.load(epoch, model)
    except (SafetensorError, RuntimeError):  # the weights of another network
        text = f"holds no weights of this network: {remedy}"
        raise InputError([Problem(checkpoints.weights(epoch), message=text)]) from None
    return model


class States:
    """The last states of a training; see `Trainer.state`. Each file is sealed with its epoch and the key of
    the training."""

    def __init__(self, folder: Path, training: str) -> None:
        self.folder = folder
        self._training = training

    def write(self, epoch: int, state: dict[str, Any]) -> None:
        """Write the state after `epoch` and delete all but the last two states."""
        content = io.BytesIO()
        torch.save(state, content)
        with whole_file(self.file(epoch)) as file:
            file.write(sealed(content.getvalue(), self._name(epoch)))
        for old in self.epochs()[KEPT_STATES:]:
            self.file(old).unlink(missing_ok=True)

    def epochs(self) -> list[int]:
        """The epochs that have a state, in descending order."""
        return sorted(epochs_in(self.folder, ".pt"), reverse=True)

    def read(self, epoch: int, device: torch.device) -> dict[str, Any] | None:
        """The state after `epoch`, or None if its file is damaged, missing, or of another epoch or training.
        No code in the file is run."""
        try:
            content = unsealed(self.file(epoch).read_bytes(), self._name(epoch))
        except OSError:
            return None
        if content is None:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        return state

    def _name(self, epoch: int) -> str:
        return f"state of {self._training} after epoch {epoch}"

    def discard(self, epoch: int) -> None:
        """Delete a state."""
        self.file(epoch).unlink(missing_ok=True)

    def file(self, epoch: int) -> Path:
        """The path of the state after `epoch`."""
        return self.folder / f"epoch_{epoch:04d}.pt"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a network's weights as a safetensors file, completely or not at all; OSError on a full disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        save_model(model, str(part))
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except SafetensorError as error:
        full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error
    finally:
        part.unlink(missing_ok=True)
