"""Where many networks are trained: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import socket
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from memtrack.core.ensemble import Ensemble, Flags, Recipe
from memtrack.io.params import mistake

DEATHS = 3
"""So many workers may die one after the other without a group finished in between."""
AHEAD = 2
"""So many calls for each worker are handed out at a time: those in work, and the next ones."""


@dataclass(frozen=True)
class Arrays:
    """The images uint8 (N, channels, H, W) and labels int64 (N,) of both splits."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @classmethod
    def load(cls, folder: Path) -> Arrays:
        """From a folder with a file NAME.npy for each; images are mapped into memory."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="c") for name in cls.__annotations__))


class Task:
    """What a worker is asked to do; sent to it once.

    Args:
        arrays: or the folder that they are in.
        members: which samples the network with a number is trained on, (N,); can be pickled.
        threads: of each worker; None: all cores.
    """

    def __init__(
        self,
        recipe: Recipe,
        arrays: Arrays | Path,
        members: Callable[[int], Flags],
        device: torch.device,
        threads: int | None = 1,
    ) -> None:
        self.recipe, self.arrays, self.members = recipe, arrays, members
        self.device, self.threads = device, threads

    def fastest_size(self, most: int) -> int:
        """See `Ensemble.fastest_size`."""
        return self._ensemble.fastest_size(self.members, most)

    def train(self, *numbers: int) -> tuple[Flags, Flags]:
        """Train networks together: which samples of each split each gets right, (K, N) and (K, T)."""
        members = np.stack([self.members(number) for number in numbers])
        group = self._ensemble.train(numbers, members)
        arrays = self._loaded
        train, test = (
            self._ensemble.correct(group, _tensor(images), _tensor(labels))
            for images, labels in (
                (arrays.images, arrays.labels),
                (arrays.test_images, arrays.test_labels),
            )
        )
        return train, test

    @cached_property
    def _loaded(self) -> Arrays:
        return Arrays.load(self.arrays) if isinstance(self.arrays, Path) else self.arrays

    @cached_property
    def _ensemble(self) -> Ensemble:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        images = _tensor(self._loaded.images)
        if self.device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(self.device)[0] / 2:
            images = images.to(self.device)
        return Ensemble(self.recipe, images, _tensor(self._loaded.labels), self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    with warnings.catch_warnings():  # arrays of Ray cannot be written to, and nobody does
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


Arguments = tuple[int, ...]


class Engine(Protocol):
    """Calls methods of a `Task` in workers."""

    workers: int

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """Each call's arguments and result, in the order in which they end. `calls` is read as workers become
        free; a call whose worker dies is made again."""
        ...


class Processes:
    """Workers on this machine. They end with the process that made them, however that ends."""

    def __init__(self, task: Task, workers: int) -> None:
        self.workers = workers
        self._task = task

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """See `Engine`.

        Raises:
            InputError: where worker after worker dies.
        """
        waiting, again, deaths = iter(calls), deque[Arguments](), 0
        pool, at_work = self._pool(), dict[Future[Any], Arguments]()
        try:
            while True:
                died = False
                try:
                    while len(at_work) < AHEAD * self.workers:
                        if not again:
                            again.extend(islice(waiting, 1))
                        if not again:
                            break
                        at_work[_submit(pool, method, again[0])] = again.popleft()
                except BrokenProcessPool:
                    died = True
                if not at_work and not again:
                    return
                for ended in wait(at_work, return_when=FIRST_COMPLETED).done if at_work else ():
                    try:
                        result = ended.result()
                    except BrokenProcessPool:
                        died = True
                        continue
                    deaths = 0
                    yield at_work.pop(ended), result
                if died:
                    deaths += 1
                    if deaths > DEATHS:
                        text = (
                            "the processes that train the networks die one after the other, out of memory "
                            "perhaps: set it, or compute.together, to a lower number"
                        )
                        raise mistake("compute", "workers", message=text)
                    _end(pool)
                    again.extend(at_work.values())
                    pool, at_work = self._pool(), {}
        finally:
            _end(pool)

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(self._task,))


def _submit(pool: ProcessPoolExecutor, method: str, call: Arguments) -> Future[Any]:
    """A new worker would first import the module that this process was started with, and with it MLflow and
    all else that a stage imports: that module is hidden from it."""
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__.pop(name) for name in ("__spec__", "__file__") if name in main.__dict__
    }
    main.__spec__ = None
    try:
        return pool.submit(_call, method, call)
    finally:
        main.__dict__.update(hidden)


def _end(pool: ProcessPoolExecutor) -> None:
    """Without waiting for what is in work."""
    processes = list((pool._processes or {}).values())  # Python 3.14 has kill_workers
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


_of_this_worker: list[Task] = []


def _begin(task: Task) -> None:
    _of_this_worker[:] = [task]
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _call(method: str, arguments: Arguments) -> Any:
    return getattr(_of_this_worker[0], method)(*arguments)


class Ray:
    """Workers on a Ray cluster, one for each core, or GPU where the task wants one.

    Ray calls again where a worker or its machine dies. The images travel through Ray; every machine has
    memtrack installed.
    """

    def __init__(self, task: Task, address: str) -> None:
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            text = "wants Ray: pip install 'memtrack[ray]'"
            raise mistake("compute", "ray", message=text) from None
        self._ray = ray
        host, _, port = address.rpartition(":")
        try:
            if host and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            text = f"no Ray cluster answers at {address!r}: {error}"
            raise mistake("compute", "ray", message=text) from None
        arrays = Arrays.load(task.arrays) if isinstance(task.arrays, Path) else task.arrays
        self._task = ray.put(Task(task.recipe, arrays, task.members, task.device, task.threads))
        self._needs = {"num_gpus": 1} if task.device.type == "cuda" else {"num_cpus": 1}
        kind = "GPU" if task.device.type == "cuda" else "CPU"
        self.workers = int(ray.cluster_resources().get(kind, 0))
        if not self.workers:
            text = f"the Ray cluster at {address!r} has no {kind}: see train.device"
            raise mistake("compute", "ray", message=text)

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """See `Engine`."""
        call_task: Any = _call_task
        remote: Any = self._ray.remote(call_task).options(max_retries=-1, **self._needs)
        waiting, at_work = iter(calls), dict[Any, Arguments]()
        try:
            while True:
                for call in islice(waiting, AHEAD * self.workers - len(at_work)):
                    at_work[remote.remote(self._task, method, call)] = call
                if not at_work:
                    return
                for ended in self._ray.wait(list(at_work))[0]:
                    result = self._ray.get(ended)
                    yield at_work.pop(ended), result
        finally:
            with suppress(Exception):
                for call in at_work:
                    self._ray.cancel(call, force=True)


def _call_task(task: Task, method: str, arguments: Arguments) -> Any:
    return getattr(task, method)(*arguments)
