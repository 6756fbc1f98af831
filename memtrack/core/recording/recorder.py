"""One sweep over the training samples, which measures a few numbers per sample."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import chain, repeat
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memtrack.core.recording.curvature import Estimator
from memtrack.core.recording.eval_mode import (
    Network,
    channels_last,
    check_classes,
    check_labels,
    existing,
    folded,
    frozen_eval,
    loss_gradient,
)
from memtrack.core.recording.logits import from_logits
from memtrack.core.recording.precision import Precision
from memtrack.core.recording.quantities import QUANTITIES, SampleArrays

T = TypeVar("T")
B = TypeVar("B", bound=tuple[Any, ...])
Batch = tuple[Tensor, Tensor]
_LARGEST = {"cpu": (512, 2**20)}
_LARGEST_ELSEWHERE = (4096, 2**24)
"""The largest batch size that is tried: the number of samples, and of numbers in their inputs."""
_TRIED = 256
"""The number of samples per thread that are swept on a CPU to find the fastest batch size."""
_BEHIND = {"cuda": 2}
"""How many batches later the numbers of a batch are fetched, so that the device never waits for them."""


def record_epoch(
    model: nn.Module, batches: Iterable[Batch], estimator: Estimator, *, epoch: int
) -> Generator[SampleArrays, None, None]:
    """Measure every sample once, batch by batch, in eval mode and with frozen parameters.

    On a CPU, a model that `folded` can copy is measured on as many batches at a time as torch has
    threads, with one thread per batch. On small images this is about twice as fast as two threads on one
    batch. The batch size and the number of threads change the numbers by rounding at most. On the CPUs that
    were tried, they change nothing while every batch holds 16 samples or more, unless the model has linear
    layers with 1,024 inputs or more. Any other model is measured one batch after the other, and so is every
    model on a GPU, which works on while the numbers of the batches before come back.

    Args:
        model: maps inputs to logits (B, classes). Its state is restored after the last batch, after an
            error, or when the iterator is closed.
        batches: (normalized inputs (B, ...), given labels int64 (B,)) in id order, without
            augmentation, on the model's device.
        estimator: the estimator of the curvature.
        epoch: the probes are drawn for it.

    Yields:
        for each batch, in order, an array (B,) for each name in `QUANTITIES`.

    Raises:
        FloatingPointError: if a recorded number is not finite (the training has diverged).
        ValueError: as in `curvature`.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    directions = estimator.directions(first[0], epoch)

    def measure(network: Network, batch: Batch) -> Callable[[], SampleArrays]:
        inputs, labels = batch
        check_labels(inputs, labels)
        logits, gradient = loss_gradient(network, inputs, labels, estimator.precision)
        classes = logits.shape[1]
        known = existing(labels, classes)
        measured = {
            **from_logits(logits, known),
            "input_gradient_norm": gradient.flatten(1).norm(dim=1),
            "curvature": estimator.estimate(network, inputs, labels, gradient, directions),
        }
        rows = [*(measured[name] for name in QUANTITIES), known == labels]

        def finish(found: NDArray[np.float32]) -> SampleArrays:
            if not found[-1].all():
                check_classes(labels, classes)
            _check_finite(dict(zip(QUANTITIES, found, strict=False)), epoch, inputs)
            return {
                name: row.astype(kind) for (name, kind), row in zip(QUANTITIES.items(), found, strict=False)
            }

        return _fetched(torch.stack([row.float() for row in rows]), finish)

    sweep = _Sweep(model, first[0])
    measured = sweep.each(measure, chain([first], batches), estimator.measuring(model))
    yield from _late(measured, _BEHIND.get(first[0].device.type, 0))


class ProbeNormRecorder:
    """The norms ||p_k|| of single probes at any h, for one epoch and one set of samples.

    The mean of the norms of the first n probes is the curvature with n probes (for `squared`, the mean of
    their squares). If the gradients at the samples themselves are kept, a probe costs one gradient.

    Args:
        model: as in `record_epoch`. It must not change while this object is in use.
        batches: as in `record_epoch`, at least one. Each call iterates over them again.
        precision: as in `Estimator`. epoch: the probes are drawn for it.
        keep: whether to keep the gradients in memory; otherwise each call computes them.
    """

    def __init__(
        self, model: nn.Module, batches: Iterable[Batch], precision: Precision, *, epoch: int, keep: bool
    ) -> None:
        self._batches, self._epoch = batches, epoch
        self._example = next(iter(batches))[0]
        self._sweep = _Sweep(model, self._example)
        self._model = model
        self._gradients: list[Tensor] | None = None
        if keep:

            def gradient(network: Network, batch: Batch) -> Tensor:
                return _checked_gradient(network, *batch, precision)

            self._gradients = list(self._sweep.each(gradient, batches, frozen_eval(model, precision)))

    def probe_norms(self, estimator: Estimator, probes: Sequence[int]) -> NDArray[np.float32]:
        """The norms of the probes with these numbers, (len(probes), N); `estimator.probes` is not used.

        Raises:
            FloatingPointError: if a norm is not finite.
        """
        directions = estimator.directions(self._example, self._epoch, probes)

        def measure(
            network: Network, batch: tuple[Tensor, Tensor, Tensor | None]
        ) -> Callable[[], NDArray[np.float32]]:
            inputs, labels, gradient = batch
            if gradient is None:
                gradient = _checked_gradient(network, inputs, labels, estimator.precision)
            norms = estimator.probe_norms(network, inputs, labels, gradient, directions)

            def finish(found: NDArray[np.float32]) -> NDArray[np.float32]:
                _check_finite({"curvature": found}, self._epoch, inputs)
                return found

            return _fetched(torch.stack(list(norms)), finish)

        gradients = repeat(None) if self._gradients is None else self._gradients
        batches = ((*batch, gradient) for batch, gradient in zip(self._batches, gradients, strict=False))
        measured = self._sweep.each(measure, batches, estimator.measuring(self._model))
        return np.concatenate(list(_late(measured, _BEHIND.get(self._example.device.type, 0))), axis=1)


class _Sweep:
    """Runs batches through the fastest form of a model, several at a time if that is faster.

    On a CPU this is a folded copy. On a GPU folding gains nothing, and kernels are stored channels-last.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self._model = model
        self._device = example.device.type
        self._copy: nn.Module | None = None
        if self._device == "cpu":
            with frozen_eval(model):
                self._copy = folded(model, example)
        self._threads = torch.get_num_threads() if self._copy is not None else 1

    def each(
        self,
        function: Callable[[Network, B], T],
        batches: Iterable[B],
        measuring: AbstractContextManager[object],
    ) -> Generator[T, None, None]:
        """Call `function` with the network and each batch, in order, within `measuring`. A batch starts with
        its inputs."""
        last = self._copy is not None or self._device == "cuda"

        def work(batch: B) -> T:
            inputs, *others = batch
            if last and inputs.dim() == 4:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            return function(self._copy or self._model, (inputs, *others))  # type: ignore[arg-type]

        kernels = channels_last(self._model) if self._device == "cuda" else nullcontext()
        with measuring, kernels:
            yield from _in_order(work, batches, self._threads)


def _checked_gradient(network: Network, inputs: Tensor, labels: Tensor, precision: Precision) -> Tensor:
    """As `loss_gradient`; raises `ValueError` if a label is no class."""
    logits, gradient = loss_gradient(network, inputs, labels, precision)
    check_classes(labels, logits.shape[1])
    return gradient


def _fetched(found: Tensor, finish: Callable[[NDArray[np.float32]], T]) -> Callable[[], T]:
    """What returns `finish` of some numbers as an array.

    From a GPU they are copied while it works on, and what is returned waits for the copy. Elsewhere `finish`
    is called at once.
    """
    if found.device.type != "cuda":
        done = finish(found.cpu().numpy())
        return lambda: done
    host = found.to("cpu", non_blocking=True)  # in pinned memory
    copied = torch.cuda.current_stream(found.device).record_event()

    def wait() -> T:
        copied.synchronize()
        return finish(host.numpy())

    return wait


def _late(started: Generator[Callable[[], T], None, None], behind: int) -> Iterator[T]:
    """Call each of some functions, in order, after `behind` others have been drawn."""
    waiting: deque[Callable[[], T]] = deque()
    with closing(started):
        for finish in started:
            waiting.append(finish)
            if len(waiting) > behind:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def joined(parts: Iterable[SampleArrays]) -> SampleArrays:
    """Join the records of all batches: an array (N,) for each name in `QUANTITIES`."""
    kept = list(parts)
    return {name: np.concatenate([part[name] for part in kept]) for name in QUANTITIES}


def samples_to_time(shape: Sequence[int], device: torch.device) -> int:
    """How many samples of a shape `fastest_batch_size` should have."""
    if device.type == "cpu":
        return _TRIED * torch.get_num_threads()
    most, numbers = _LARGEST_ELSEWHERE
    return max(16, 2 * min(most, numbers // math.prod(shape)))


def fastest_batch_size(model: nn.Module, inputs: Tensor, labels: Tensor, estimator: Estimator) -> int:
    """The batch size at which `record_epoch` is fastest, found by timing several sizes on the given samples.

    A CPU is fastest when a batch fits into its cache. The choice depends on chance. So that it changes no
    result, a size counts on a CPU only if it gives exactly the same numbers as the smallest size. Elsewhere
    larger batches are faster until the device is fully used: sizes are doubled while this is worth 2%.

    Args:
        model, estimator: as in `record_epoch`.
        inputs, labels: `samples_to_time` samples, on the model's device.

    Returns:
        a power of two from 16 to 4096; 16 also if there are fewer samples.
    """
    on_cpu = inputs.device.type == "cpu"
    most, numbers = _LARGEST.get(inputs.device.type, _LARGEST_ELSEWHERE)
    largest = min(
        most, numbers // inputs[0].numel(), len(inputs) // (torch.get_num_threads() if on_cpu else 1)
    )
    if largest < 32:
        return 16  # there is nothing to choose from
    reference: SampleArrays = {}
    seconds: dict[int, float] = {}

    def sweep(size: int, count: int) -> tuple[SampleArrays, float]:
        """The numbers of the first `count` samples, and the seconds that each took."""
        some = inputs[:count], labels[:count]
        batches = zip(*(torch.split(part, size) for part in some), strict=True)
        start = time.perf_counter()
        arrays = joined(record_epoch(model, batches, estimator, epoch=0))
        return arrays, (time.perf_counter() - start) / len(some[0])

    for size in [16, *(2**power for power in range(4, 13) if 2**power <= largest)]:  # the first run warms up
        try:
            if not on_cpu:
                sweep(size, size)  # every size warms up: the device chooses its kernels
            arrays, taken = sweep(size, len(inputs) if on_cpu else 2 * size)
        except torch.OutOfMemoryError:
            break
        reference = reference or arrays
        if on_cpu and any((arrays[name] != reference[name]).any() for name in QUANTITIES):
            continue
        if not on_cpu and taken > 0.98 * min(seconds.values(), default=float("inf")) and size > 16:
            break
        seconds[size] = taken
    return min(seconds, key=seconds.__getitem__, default=16)


def _in_order(function: Callable[[B], T], batches: Iterable[B], threads: int) -> Iterator[T]:
    """`map` in threads, in each of which torch uses one thread. It runs a few batches ahead of the caller."""
    if threads == 1:
        yield from map(function, batches)
        return
    waiting: deque[Future[T]] = deque()
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for batch in batches:
                waiting.append(pool.submit(function, batch))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(before)  # a thread's own setting also changes libraries that all threads share


def _check_finite(arrays: SampleArrays, epoch: int, inputs: Tensor) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            reason = (
                "the training has diverged; a smaller learning rate usually helps"
                if inputs.isfinite().all()
                else "the inputs are not finite"
            )
            raise FloatingPointError(
                f"epoch {epoch}: {name} is not finite for {count} samples of a batch: {reason}"
            )
