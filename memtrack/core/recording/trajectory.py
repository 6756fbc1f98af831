"""The numbers of all recorded epochs, on disk."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.core.files import whole_file
from memtrack.core.kept_files import epochs_in, npy_header, write_array
from memtrack.core.recording.quantities import QUANTITIES, SampleArrays


class EpochArrays(ABC):
    """The recorded epochs of some quantities, in any storage. Scores are computed from them."""

    @property
    @abstractmethod
    def epochs(self) -> tuple[int, ...]:
        """The recorded epochs, ascending."""

    @abstractmethod
    def load(self, quantity: str, epoch: int) -> NDArray[np.generic]:
        """The array of a quantity in an epoch, (N,), in its stored type."""

    def each(self, quantity: str) -> Iterator[NDArray[np.float64]]:
        """The recorded epochs of a quantity one after the other, each (N,) in float64."""
        for epoch in self.epochs:
            yield self.load(quantity, epoch).astype(np.float64)

    def read(self, quantity: str) -> NDArray[np.float64]:
        """All recorded epochs of a quantity, (T, N), in float64 so that sums over epochs are exact."""
        return np.stack(list(self.each(quantity)))

    def mean(self, quantity: str) -> NDArray[np.float64]:
        """The mean of a quantity over the recorded epochs, (N,)."""
        total = np.zeros(())
        for values in self.each(quantity):
            total = total + values
        return total / len(self.epochs)

    def between(self, first: int, last: int) -> EpochArrays:
        """The recorded epochs from `first` to `last`, both included."""
        return _Window(self, first, last)

    def last(self, quantity: str) -> NDArray[np.generic]:
        """The last recorded epoch of a quantity, (N,), in its stored type."""
        return self.load(quantity, self.epochs[-1])


class _Window(EpochArrays):
    """A window of epochs."""

    def __init__(self, arrays: EpochArrays, first: int, last: int) -> None:
        self._arrays = arrays
        self._epochs = tuple(epoch for epoch in arrays.epochs if first <= epoch <= last)

    @property
    def epochs(self) -> tuple[int, ...]:
        return self._epochs

    def load(self, quantity: str, epoch: int) -> NDArray[np.generic]:
        return self._arrays.load(quantity, epoch)


class InMemoryTrajectory(EpochArrays):
    """Arrays in memory: for each quantity and each epoch, (N,)."""

    def __init__(self, arrays: Mapping[str, Mapping[int, NDArray[np.generic]]]) -> None:
        self.arrays = arrays

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs in memory, ascending."""
        return tuple(sorted(next(iter(self.arrays.values()))))

    def load(self, quantity: str, epoch: int) -> NDArray[np.generic]:
        """The array of a quantity in an epoch, (N,)."""
        return self.arrays[quantity][epoch]


class HeldOutTrajectory(InMemoryTrajectory):
    """Recorded epochs of held-out samples.

    Args:
        arrays: for each quantity and each epoch, (N,).
        training: those of the samples that the network was trained on. They decide which epochs are telling.
    """

    def __init__(
        self, arrays: Mapping[str, Mapping[int, NDArray[np.generic]]], training: EpochArrays
    ) -> None:
        super().__init__(arrays)
        self.training = training


class Trajectory(EpochArrays):
    """A folder of arrays: `ids.npy` (N,) and, for each quantity, `QUANTITY/epoch_0003.npy` (N,).

    Every array is in the order of `ids`. `epochs/epoch_0003.json` holds the epoch, what it was made from and
    the hashes of its arrays, and is written last: an epoch without it does not count. An epoch of a million
    samples is eight files of 5 MB or less. No method except `read` keeps more than two of them in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, ids: Sequence[str]) -> Trajectory:
        """Create an empty trajectory of the samples `ids`. Epochs that exist already are kept."""
        trajectory = cls(folder)
        write_array(folder / "ids.npy", np.asarray(ids, dtype=np.str_))
        return trajectory

    @property
    def ids(self) -> NDArray[np.str_]:
        """The sample ids (N,)."""
        ids: NDArray[np.str_] = np.load(self.folder / "ids.npy", allow_pickle=False)
        return ids

    @property
    def epochs(self) -> tuple[int, ...]:
        """The recorded epochs, ascending."""
        return tuple(sorted(epochs_in(self.folder / "epochs", ".json")))

    def file(self, quantity: str, epoch: int) -> Path:
        """The path of the array of a quantity in an epoch."""
        return self.folder / quantity / f"epoch_{epoch:04d}.npy"

    def _record(self, epoch: int) -> Path:
        return self.folder / "epochs" / f"epoch_{epoch:04d}.json"

    def files(self, epoch: int) -> list[Path]:
        """All files of an epoch; the last is the one that makes the epoch count."""
        return [*(self.file(name, epoch) for name in QUANTITIES), self._record(epoch)]

    def write(
        self, epoch: int, parts: Iterable[SampleArrays], made_from: Mapping[str, str | None] | None = None
    ) -> None:
        """Add a recorded epoch, batch by batch as `record_epoch` yields them.

        Args:
            made_from: what the epoch was recorded from, such as a hash of the network's weights.

        Raises:
            OSError: if the disk is full. ValueError: if the batches do not hold N samples. In both
                cases the epoch does not count, and no part of it is left.
        """
        self._record(epoch).unlink(missing_ok=True)
        try:
            record = {
                "epoch": epoch,
                "made_from": dict(made_from or {}),
                "arrays": self._write_arrays(epoch, parts),
            }
            with whole_file(self._record(epoch)) as file:
                file.write(json.dumps(record, indent=2).encode() + b"\n")
        except BaseException:
            self.discard(epoch)
            raise

    def _write_arrays(self, epoch: int, parts: Iterable[SampleArrays]) -> dict[str, str]:
        """Write each quantity batch by batch, and return the hashes of the files."""
        count, written = len(self.ids), 0
        hashes = {name: hashlib.sha256() for name in QUANTITIES}
        with ExitStack() as stack:
            files = {name: stack.enter_context(whole_file(self.file(name, epoch))) for name in QUANTITIES}

            def add(name: str, content: bytes) -> None:
                files[name].write(content)
                hashes[name].update(content)

            for name, kind in QUANTITIES.items():
                add(name, npy_header(np.dtype(kind), (count,)))
            for part in parts:
                written += len(part["loss"])
                for name, kind in QUANTITIES.items():
                    add(name, part[name].astype(kind, copy=False).tobytes())
            if written != count:
                raise ValueError(f"epoch {epoch}: {written} samples were recorded instead of {count}")
        return {name: digest.hexdigest() for name, digest in hashes.items()}

    def damaged(self, epoch: int) -> Path | None:
        """The first file of an epoch that is missing, differs from what was written, or does not hold finite
        numbers of all samples; else None."""
        try:
            record = json.loads(self._record(epoch).read_text())
            expected = dict(record["arrays"])
            if record["epoch"] != epoch or not isinstance(record["made_from"], dict):
                return self._record(epoch)
        except (OSError, ValueError, TypeError, LookupError):
            return self._record(epoch)
        count = len(self.ids)
        for name, kind in QUANTITIES.items():
            path = self.file(name, epoch)
            if not path.is_file():
                return path
            header, content = npy_header(np.dtype(kind), (count,)), path.read_bytes()
            size = len(header) + count * np.dtype(kind).itemsize
            if (
                hashlib.sha256(content).hexdigest() != expected.get(name)
                or not content.startswith(header)
                or len(content) != size
            ):
                return path
            if not np.isfinite(np.frombuffer(content, kind, offset=len(header))).all():
                return path
        return None

    def made_from(self, epoch: int) -> dict[str, str | None]:
        """What a recorded epoch was made from; see `write`."""
        found: dict[str, str | None] = json.loads(self._record(epoch).read_text())["made_from"]
        return found

    def discard(self, epoch: int) -> None:
        """Remove an epoch."""
        for path in reversed(self.files(epoch)):
            path.unlink(missing_ok=True)

    def load(self, quantity: str, epoch: int) -> NDArray[np.generic]:
        """The array of a quantity in an epoch, (N,), in its stored type."""
        array: NDArray[np.generic] = np.load(self.file(quantity, epoch), allow_pickle=False)
        return array
