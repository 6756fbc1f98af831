"""The network after each epoch, and the states that an interrupted training goes on from."""

from __future__ import annotations

import errno
import hashlib
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
from memtrack.config.sections.train import ModelParams
from memtrack.core.files import epochs_in, file_hash, whole_file
from memtrack.data.prepared import DatasetInfo
from memtrack.runs.networks import network

KEPT_STATES = 2


class EpochMetrics(StrictModel):
    """What training says of an epoch; beside the network's weights, whose sha256 it holds."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float
    learning_rate: float
    weights: str | None = None


class Checkpoints:
    """A folder with, for each epoch, `epoch_0003.json` and, where kept, `epoch_0003.safetensors`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def weights(self, epoch: int) -> Path:
        """Where the weights after `epoch` are."""
        return self.folder / f"epoch_{epoch:04d}.safetensors"

    def _metrics(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:04d}.json"

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs that are there, rising."""
        return tuple(sorted(epochs_in(self.folder, ".json")))

    def files(self, epoch: int) -> list[Path]:
        """The files that an epoch may have, the one that makes it count last."""
        return [self.weights(epoch), self._metrics(epoch)]

    def write(self, epoch: int, metrics: EpochMetrics, model: nn.Module | None) -> None:
        """Keep an epoch's metrics and, where `model` is given, its weights; whole or not at all."""
        digest = None
        if model is not None:
            save_weights(model, self.weights(epoch))
            digest = file_hash(self.weights(epoch))
        with whole_file(self._metrics(epoch)) as file:
            kept = metrics.model_copy(update={"weights": digest})
            file.write(kept.model_dump_json(indent=2).encode() + b"\n")
        if model is None:
            self.weights(epoch).unlink(missing_ok=True)

    def metrics(self, epoch: int) -> EpochMetrics:
        """What training said of `epoch`."""
        return read_json(EpochMetrics, self._metrics(epoch))

    def load(self, epoch: int, model: nn.Module) -> None:
        """Put the weights after `epoch` into `model`."""
        load_model(model, self.weights(epoch))

    def drop_weights(self, epoch: int) -> None:
        """Keep the metrics of an epoch alone."""
        self.write(epoch, self.metrics(epoch), None)

    def missing(self, epoch: int, *, weights: bool) -> bool:
        """Whether the epoch is not there at all, or lacks the weights that are asked for."""
        wanted = self.files(epoch) if weights else self.files(epoch)[1:]
        return not all(path.exists() for path in wanted)

    def damaged(self, epoch: int) -> Path | None:
        """The first file of an epoch that is not what was written, or None where all are."""
        try:
            expected = self.metrics(epoch).weights
        except InputError:
            return self._metrics(epoch)
        path = self.weights(epoch)
        if expected is None:
            return None
        return None if path.is_file() and file_hash(path) == expected else path

    def discard(self, epoch: int) -> None:
        """Remove an epoch."""
        for path in reversed(self.files(epoch)):
            path.unlink(missing_ok=True)


def trained_network(
    chosen: ModelParams, info: DatasetInfo, checkpoints: Checkpoints, epoch: int, *, remedy: str
) -> nn.Module:
    """The network after an epoch; `InputError` that ends with `remedy` where its file is damaged."""
    broken = checkpoints.damaged(epoch)
    if broken is not None:
        raise InputError([Problem(broken, message=f"is damaged: {remedy}")])
    model = network(chosen, info)
    checkpoints.load(epoch, model)
    return model


class States:
    """The last states of a training, each a file of a sha256 and what it is of; see `Trainer.state`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, epoch: int, state: dict[str, Any]) -> None:
        """Keep the state after `epoch` and drop all but the last two."""
        content = io.BytesIO()
        torch.save(state, content)
        with whole_file(self.file(epoch)) as file:
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())
        for old in self.epochs()[KEPT_STATES:]:
            self.file(old).unlink(missing_ok=True)

    def epochs(self) -> list[int]:
        """The epochs of which there is a state, falling."""
        return sorted(epochs_in(self.folder, ".pt"), reverse=True)

    def read(self, epoch: int, device: torch.device) -> dict[str, Any] | None:
        """The state after `epoch`, or None where the file is damaged or missing; runs no code from it."""
        try:
            content = self.file(epoch).read_bytes()
        except OSError:
            return None
        size = hashlib.sha256().digest_size
        if hashlib.sha256(content[size:]).digest() != content[:size]:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(content[size:]), map_location=device, weights_only=True)
        return state

    def discard(self, epoch: int) -> None:
        """Remove a state."""
        self.file(epoch).unlink(missing_ok=True)

    def file(self, epoch: int) -> Path:
        """Where the state after `epoch` is."""
        return self.folder / f"epoch_{epoch:04d}.pt"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a network's weights as a safetensors file, whole or not there; OSError on a full disk."""
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
