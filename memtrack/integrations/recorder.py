"""The recorder of somebody's own training loop."""

from __future__ import annotations

import hashlib
import operator
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from memtrack.core.files import file_hash
from memtrack.core.kept_files import write_array
from memtrack.core.recording.curvature import ESTIMATORS, Method, Norm
from memtrack.core.recording.eval_mode import check_classes, frozen_eval
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.recorder import fastest_batch_size, record_epoch, samples_to_time
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.training.models.outputs import are_probabilities
from memtrack.integrations.samples import PlainSamples, Unpack, randomness_kept

if TYPE_CHECKING:
    import pandas as pd

    from memtrack.integrations.folder import RecordedFolder


class Recorder:
    """Records a training loop, epoch by epoch, in a folder; see `memtrack.integrations.folder` for its files.

    The samples are read when the recorder is made, once and in their own order, so mistakes in them are
    found before the training. A folder that holds epochs of the same samples, recorded in the same way, is
    continued.

    Args:
        data: the training samples with their given labels, normalized as the network takes them, without
            shuffling and without augmentation: a map-style data set of (inputs, label), or a tuple of
            inputs (N, ...) and labels (N,). Hugging Face's dictionaries with `pixel_values` and `labels`
            work too.
        folder: where the numbers are kept.
        ids: the id of each sample, (N,): names it in all tables; None: "0", "1", ...
        classes: the names of the classes; None: their numbers.
        scale, probes, method, norm, seed, precision: of the curvature; see `memtrack.curvature`.
        epochs: the epochs that are recorded, such as range(2, 101, 2); None: all.
        batch_size: of the sweep; None: the fastest, by a short measurement.
        neighbours: whether to search for the nearest neighbours of each sample after every recorded epoch.
            The scores `suspicion` and `neighbours` need them.
        unpack: takes (inputs, label) out of a sample of another form.
        workers: processes that read the samples; 0: this one.
        overwrite: remove what is in the folder from other samples or settings, or from a training before.

    Raises:
        ValueError: if the samples cannot be used, see `PlainSamples`; if an option is out of its range; if
            the folder holds other samples, or epochs that were recorded in another way.

    Examples:
        >>> recorder = Recorder(samples, "recorded")
        >>> for epoch in range(1, 31):
        ...     train_one_epoch(model)
        ...     recorder.after_epoch(model)
        >>> recorder.scores().nlargest(20, "suspicion")[["given_label", "suggested_label", "suspicion"]]
    """

    def __init__(
        self,
        data: Any,
        folder: str | Path,
        *,
        ids: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        scale: float = 0.03,
        probes: int = 1,
        method: Method = "forward",
        norm: Norm = "plain",
        seed: int = 0,
        precision: Precision = "float32",
        epochs: Collection[int] | None = None,
        batch_size: int | None = None,
        neighbours: bool = True,
        unpack: Unpack | None = None,
        workers: int = 0,
        overwrite: bool = False,
    ) -> None:
        if method not in ESTIMATORS:
            raise ValueError(f"method is {method!r}: it should be one of {', '.join(ESTIMATORS)}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it should be at least 1")
        self.folder = Path(folder)
        self._estimator = ESTIMATORS[method](scale, probes, norm, seed, precision)
        self._settings = {"method": method, "scale": scale, "probes": probes, "norm": norm, "seed": seed,
                          "precision": precision}  # fmt: skip
        self._epochs = None if epochs is None else frozenset(epochs)
        self._batch_size, self._neighbours = batch_size, neighbours
        self._last = 0
        if first_process():
            self._samples = PlainSamples(data, ids=ids, unpack=unpack, workers=workers)
            self._trajectory = self._opened(_class_names(classes, self._samples), overwrite)

    def after_epoch(self, model: nn.Module, epoch: int | None = None) -> bool:
        """Measure every sample and write the numbers, if the epoch is one of those to be recorded.

        The network is measured in eval mode, with all its weights, on the device where they are. Modes,
        gradients, random number generators and all else are left as they were: the training goes on as it
        would without this call. A network in DistributedDataParallel, or compiled, is unwrapped. With several
        processes all may call this: the first one measures.

        An epoch that the folder already has, from the same weights, is not measured again.

        Args:
            model: maps inputs (B, ...) to logits (B, classes).
            epoch: its number, from 1; None: one more than that of the last call, 1 for the first. Give it if
                a training that was stopped goes on.

        Returns:
            whether the epoch was measured.

        Raises:
            ValueError: if the model gives no logits, or is cut into pieces (FSDP); if a label has no logit;
                if h is too small for the precision; if the folder has this epoch from other weights; if a
                sample has changed.
            FloatingPointError: if the training has diverged. In both cases the epoch is not in the folder.
        """
        number = self._last + 1 if epoch is None else operator.index(epoch)
        if number < 0:
            raise ValueError(f"the epoch is {number}: it should be 0 or more")
        self._last = number
        if self._epochs is not None and number not in self._epochs:
            return False
        model = unwrapped(model)
        if _is_sharded(model):
            raise ValueError(
                "the network is cut into pieces on several devices (FSDP, or tensor parallel): the recorder "
                "measures whole networks; DistributedDataParallel keeps one on each device"
            )
        if not first_process():
            return False
        device, kind = _where(model)
        with torch.inference_mode(False), torch.autocast(device.type, enabled=False), randomness_kept():
            weights = weights_hash(model)
            if self._has(number, weights):
                return False
            self._check_logits(model, device, kind)
            size = self._size(model, device, kind)
            nearest = self._write_neighbours(model, number, size, device, kind)
            parts = record_epoch(
                model, self._samples.batches(size, device, kind), self._estimator, epoch=number
            )
            self._trajectory.write(number, parts, {"weights": weights, "neighbours": nearest})
        return True

    @property
    def recorded(self) -> RecordedFolder:
        """What was recorded so far.

        Raises:
            ValueError: if no epoch was recorded.
        """
        from memtrack.integrations.folder import RecordedFolder  # takes a moment

        found = RecordedFolder(self.folder)
        if not found.trajectory.epochs:
            raise ValueError(f"{self.folder}: no epoch was recorded: call after_epoch first")
        return found

    def scores(self) -> pd.DataFrame:
        """All scores that the recorded epochs allow, the larger the more suspect; see `RecordedFolder.table`
        for the columns.

        Raises:
            ValueError: if no epoch was recorded.
        """
        return self.recorded.table()

    def _opened(self, classes: list[str], overwrite: bool) -> Trajectory:
        """The trajectory in the folder, which is begun or continued."""
        from memtrack.integrations import folder as kept

        if overwrite:
            kept.remove(self.folder)
        kept.begin(self.folder, self._samples, classes, self._settings, neighbours=self._neighbours)
        return Trajectory(self.folder / kept.TRAJECTORY)

    def _has(self, epoch: int, weights: str) -> bool:
        """Whether the folder has the epoch, from these weights."""
        if epoch not in self._trajectory.epochs or self._trajectory.damaged(epoch):
            return False
        if self._trajectory.made_from(epoch).get("weights") != weights:
            raise ValueError(
                f"{self.folder} has epoch {epoch} of a network with other weights. If a training goes on, "
                "give the number of the epoch; for a new training, take another folder or overwrite=True"
            )
        return True

    def _check_logits(self, model: nn.Module, device: torch.device, kind: torch.dtype) -> None:
        inputs, _ = next(self._samples.batches(2, device, kind))
        with frozen_eval(model), torch.no_grad():
            logits = model(inputs)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(inputs):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise ValueError(
                f"for {len(inputs)} samples the model gives {found}: it should give logits ({len(inputs)}, "
                "classes). If they are a part of what it gives, put it into a module that returns them"
            )
        if are_probabilities(logits):
            raise ValueError("the model gives probabilities: it should give logits, so leave out its softmax")
        check_classes(torch.from_numpy(self._samples.labels), logits.shape[1])

    def _size(self, model: nn.Module, device: torch.device, kind: torch.dtype) -> int:
        if self._batch_size is None:
            count = min(len(self._samples), samples_to_time(self._samples.shape, device))
            tried = next(self._samples.batches(count, device, kind))
            self._batch_size = fastest_batch_size(model, *tried, self._estimator)
        return self._batch_size

    def _write_neighbours(
        self, model: nn.Module, epoch: int, size: int, device: torch.device, kind: torch.dtype
    ) -> str | None:
        """Search for neighbours by the features of the network; the hash of the file."""
        if not self._neighbours:
            return None
        from memtrack.core.recording.features import features
        from memtrack.integrations import folder as kept

        found = np.concatenate(list(features(model, self._samples.batches(size, device, kind))))
        path = kept.neighbours_file(self.folder, epoch)
        write_array(path, kept.nearest_by_features(found))
        return file_hash(path)


def first_process() -> bool:
    """Whether this is the first of the processes that share a training, or the only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def unwrapped(model: nn.Module) -> nn.Module:
    """The network without DistributedDataParallel, DataParallel and torch.compile."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    while True:
        if isinstance(model, wrappers):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _is_sharded(model: nn.Module) -> bool:
    """Whether a process has only a part of each weight. To import what does this takes time."""
    pieces = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", ())
    wrapper = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    return any(isinstance(part, pieces) for part in model.parameters()) or any(
        isinstance(module, wrapper) for module in model.modules()
    )


def weights_hash(model: nn.Module) -> str:
    """The sha256 of the names, shapes, types and values of all weights and buffers."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            content.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            content.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            content.update(f"{name} {value!r}\n".encode())
    return content.hexdigest()


def _where(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """The device of a network, and the type of its inputs."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
    return torch.device("cpu"), torch.float32


def _class_names(classes: Sequence[str] | None, samples: PlainSamples) -> list[str]:
    if classes is None:
        return []
    if isinstance(classes, str):
        raise ValueError(f"classes is {classes!r}: it should be a list of names")
    found, needed = [str(name) for name in classes], int(samples.labels.max()) + 1
    if len(found) < needed or len(set(found)) < len(found):
        raise ValueError(
            f"there are {len(found)} names of classes: labels up to {needed - 1} need {needed} different ones"
        )
    return found
