"""The plain samples of somebody's data set: always in the same order, the same numbers at every reading."""

from __future__ import annotations

import math
import operator
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from memtrack.core.images.pixels import Pixels

Unpack = Callable[[Any], tuple[Any, Any]]
INPUTS, LABELS = ("pixel_values", "image", "img"), ("labels", "label")
"""The keys of a sample that is a mapping."""
READ = 256
"""So many samples are read at a time."""
TWICE = 64
"""So many samples, evenly spaced, are read once more, to find augmentation."""
KEPT = 2**30
"""The inputs of all samples are kept in memory if they take no more bytes."""
LONGEST, FEWEST, PIXELS = 64, 16, 2**29
"""The longest and the shortest longer side of the small images, and the number of pixel values of all of
them that makes them smaller."""
SHOWN = 3
"""So many samples with a mistake are named."""


class PlainSamples:
    """The samples of a data set, without shuffling and without augmentation.

    All samples are read once, and some of them twice. Afterwards the inputs are in memory, if they fit into
    `KEPT` bytes; otherwise they are read for every sweep, and must be the same each time.

    Args:
        data: a map-style data set of samples, or inputs (N, ...) and labels (N,) as a tuple of tensors or
            arrays. A sample is (inputs, label), maybe with more behind it, or a mapping with one of `INPUTS`
            and one of `LABELS`. Inputs are floating point, normalized as in training.
        ids: the id of each sample, (N,); None: "0", "1", ...
        unpack: takes (inputs, label) out of a sample of another form.
        workers: processes that read the samples; 0: this one.

    Attributes:
        ids: (N,). labels: the given labels, int64 (N,). shape: of one input.
        checksums: of the inputs of each sample, uint32 (N,).
        images: of samples (1 or 3, H, W) small images, uint8 (N, channels, height, width); else None.

    Raises:
        ValueError: if the data set, an id, an input or a label cannot be used; the message says what to do.
    """

    def __init__(
        self,
        data: Any,
        *,
        ids: Sequence[str] | None = None,
        unpack: Unpack | None = None,
        workers: int = 0,
    ) -> None:
        self._data, self._workers = _map_style(data), workers
        count = len(self._data)
        if not count:
            raise ValueError("the data set has no samples")
        self.ids = _checked_ids(ids, count)
        self._read_items = _Reader(unpack or plain)
        self._kept: Tensor | None = None
        self.labels = np.empty(count, dtype=np.int64)
        self.checksums = np.empty(count, dtype=np.uint32)
        self.images: Pixels | None = None
        with randomness_kept():
            self._read_all()
            self._read_twice()

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        """The inputs as vectors (N, numbers); None if they are not in memory."""
        return None if self._kept is None else self._kept.flatten(1).float().numpy()

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, size: int, device: torch.device, kind: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (inputs (B, ...), labels int64 (B,)) of all samples, in their order.

        Raises:
            ValueError: if a sample is not what it was when it was read first.
        """
        given = torch.from_numpy(self.labels)
        start = 0
        for inputs in self._inputs(size):
            rows = slice(start, start + len(inputs))
            yield inputs.to(device, kind), given[rows].to(device)
            start += len(inputs)

    def _inputs(self, size: int) -> Iterator[Tensor]:
        if self._kept is not None:
            yield from torch.split(self._kept, size)
            return
        start = 0
        for inputs, labels in self._batches(size):
            rows = slice(start, start + len(inputs))
            same = (_checksums(inputs) == self.checksums[rows]) & (labels.numpy() == self.labels[rows])
            if not same.all():
                raise ValueError(_changed([self.ids[start + int(row)] for row in np.flatnonzero(~same)]))
            yield inputs
            start += len(inputs)

    def _batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels as the data set gives them."""
        loader: DataLoader[Any] = DataLoader(
            self._data, batch_size=size, num_workers=self._workers, collate_fn=self._read_items
        )
        start = 0
        for found in loader:
            if isinstance(found, _Mistake):
                raise ValueError(f"sample {self.ids[start + found.position]!r} {found.text}")
            yield found
            start += len(found[0])

    def _read_all(self) -> None:
        start, small = 0, None
        edges: list[Tensor] = []
        for inputs, labels in self._batches(READ):
            if not start:
                self.shape = tuple(inputs.shape[1:])
                if len(self) * inputs[0].numel() * inputs.element_size() <= KEPT:
                    self._kept = torch.empty((len(self), *self.shape), dtype=inputs.dtype)
                if _are_images(self.shape):
                    size = _small(self.shape, len(self))
                    small = np.empty((len(self), self.shape[0], *size), dtype=np.float16)
            if tuple(inputs.shape[1:]) != self.shape:
                text = f"is {tuple(inputs.shape[1:])}, and the first sample is {self.shape}"
                raise ValueError(f"sample {self.ids[start]!r} {text}: all must have the same shape")
            rows = slice(start, start + len(inputs))
            self.labels[rows], self.checksums[rows] = labels.numpy(), _checksums(inputs)
            if self._kept is not None:
                self._kept[rows] = inputs
            if small is not None:
                shrunk = inputs.float()
                if small.shape[2:] != self.shape[1:]:
                    shrunk = adaptive_avg_pool2d(shrunk, small.shape[2:])
                edges.append(torch.stack([shrunk.amin((0, 2, 3)), shrunk.amax((0, 2, 3))]))
                small[rows] = shrunk.clamp(-60_000, 60_000).numpy()  # the range of float16
            start += len(inputs)
        if small is not None:
            low, high = torch.stack(edges).amin(0)[0], torch.stack(edges).amax(0)[1]
            self.images = _pixels(small, low.numpy(), high.numpy())

    def _read_twice(self) -> None:
        rows = np.unique(np.linspace(0, len(self) - 1, TWICE).round().astype(int))
        changed = []
        for row in rows.tolist():
            found = self._read_items([self._data[row]])
            if isinstance(found, _Mistake) or _checksums(found[0])[0] != self.checksums[row]:
                changed.append(self.ids[row])
        if changed:
            raise ValueError(_changed(changed))


def plain(item: Any) -> tuple[Any, Any]:
    """The inputs and the label of a sample: the first two of a tuple, or what is under `INPUTS` and `LABELS`.

    Raises:
        LookupError: if they are not there.
    """
    if isinstance(item, Mapping):
        inputs, label = (next(key for key in keys if key in item) for keys in (INPUTS, LABELS)
                         if any(key in item for key in keys))  # fmt: skip
        return item[inputs], item[label]
    if isinstance(item, (tuple, list)) and len(item) >= 2:
        return item[0], item[1]
    raise LookupError


@contextmanager
def randomness_kept() -> Iterator[None]:
    """Put the random number generators of Python, NumPy and torch back as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the loop may use them)
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if initialized else ()
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


class _Mistake:
    """What is wrong with a sample of a batch."""

    def __init__(self, position: int, text: str) -> None:
        self.position, self.text = position, text


class _Reader:
    """Turns samples into inputs (B, ...) and labels int64 (B,), or into the first mistake in them. A mistake
    is no exception, which would come with the traceback of a worker process."""

    def __init__(self, unpack: Unpack) -> None:
        self._unpack = unpack

    def __call__(self, items: Sequence[Any]) -> tuple[Tensor, Tensor] | _Mistake:
        inputs: list[Tensor] = []
        labels: list[int] = []
        for position, item in enumerate(items):
            try:
                found, label = self._unpack(item)
            except (LookupError, TypeError, ValueError):
                return _Mistake(
                    position,
                    f"is {_kind(item)}: it should be (inputs, label); with `unpack` you can give a function "
                    "that takes these two out of a sample",
                )
            if isinstance(found, np.ndarray):
                found = torch.from_numpy(found)
            if not isinstance(found, Tensor) or not found.is_floating_point():
                kind = found.dtype if isinstance(found, Tensor) else _kind(found)
                return _Mistake(
                    position,
                    f"has inputs that are {kind}: they should be a tensor of floating point numbers, as the "
                    "network takes it (give the data set the transform of your test data)",
                )
            if inputs and found.shape != inputs[0].shape:
                shapes = f"{tuple(found.shape)}, and another sample is {tuple(inputs[0].shape)}"
                return _Mistake(position, f"is {shapes}: all must have the same shape")
            try:
                number = operator.index(label)
            except (TypeError, ValueError, RuntimeError):
                shown = f"{label!r}"[:80]
                return _Mistake(position, f"has the label {shown}: labels are class numbers from 0")
            if number < 0:
                return _Mistake(position, f"has the label {number}: labels are class numbers from 0")
            inputs.append(found.detach())
            labels.append(number)
        return torch.stack(inputs).cpu(), torch.tensor(labels, dtype=torch.int64, device="cpu")


def _map_style(data: Any) -> Any:
    """The data set; `ValueError` if its samples cannot be asked for one by one."""
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(x, (Tensor, np.ndarray)) for x in data):
        if isinstance(data[1], np.ndarray) and data[1].dtype.kind not in "iub":
            raise ValueError(f"the labels are {data[1].dtype}: labels are class numbers from 0, as integers")
        inputs, labels = (torch.as_tensor(part) for part in data)
        if len(inputs) != len(labels):
            raise ValueError(f"there are {len(inputs)} inputs and {len(labels)} labels")
        return TensorDataset(inputs, labels)
    if isinstance(data, DataLoader):
        raise ValueError("this is a DataLoader: give its data set (`loader.dataset`) without augmentation")
    if isinstance(data, IterableDataset) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise ValueError(
            f"{_kind(data)} cannot be asked for single samples: give a map-style data set, with __len__ and "
            "__getitem__ (`list(data)` is one, if the samples fit into memory)"
        )
    return data


def _checked_ids(ids: Sequence[str] | None, count: int) -> list[str]:
    if ids is None:
        return [str(number) for number in range(count)]
    found = [str(one) for one in ids]
    if len(found) != count:
        raise ValueError(
            f"there are {count} samples and {len(found)} ids: every sample needs an id of its own"
        )
    if "" in found:
        row = found.index("")
        raise ValueError(f"the id of sample number {row} is missing: every sample needs an id of its own")
    numbers: dict[str, int] = {}
    for row, one in enumerate(found):
        if numbers.setdefault(one, row) != row:
            text = f"the id {one!r} is that of the samples number {numbers[one]} and {row}"
            raise ValueError(f"{text}: every sample needs an id of its own")
    return found


def _changed(ids: Sequence[str]) -> str:
    named = ", ".join(repr(one) for one in ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
    return (
        f"sample {named} gives other numbers at every reading: give the recorder the data set without "
        "augmentation (a second one with the transform of your test data)"
    )


def _checksums(inputs: Tensor) -> NDArray[np.uint32]:
    rows = inputs.reshape(len(inputs), -1).contiguous().view(torch.uint8).numpy()
    return np.array([zlib.crc32(row) for row in rows], dtype=np.uint32)


def _kind(what: Any) -> str:
    return f"a {type(what).__name__}"


def _are_images(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3)


def _small(shape: Sequence[int], count: int) -> tuple[int, int]:
    """Height and width of the small images of `count` samples of a shape (channels, H, W)."""
    channels, high, wide = shape
    longest = min(LONGEST, max(FEWEST, math.isqrt(PIXELS // (channels * count))))
    scale = min(1.0, longest / max(high, wide))
    return max(1, round(high * scale)), max(1, round(wide * scale))


def _pixels(small: NDArray[np.float16], low: NDArray[np.float32], high: NDArray[np.float32]) -> Pixels:
    """Normalized images (N, channels, height, width) as pixels. `low` and `high` are the least and the
    largest number of each channel in all images: they become 0 and 255. This undoes a normalization of images
    that use the whole range."""
    span = np.maximum(high - low, 1e-12)
    found = np.empty(small.shape, dtype=np.uint8)
    for start in range(0, len(small), READ):
        part = small[start : start + READ].astype(np.float32)
        share = (part - low[:, None, None]) / span[:, None, None]
        found[start : start + READ] = np.rint(255 * share.clip(0, 1))
    return found
