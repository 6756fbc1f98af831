"""Where many networks are trained: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from memtrack.io.params import mistake
from memtrack.io.task import Arrays, Task

DEATHS = 3
"""So many workers may die one after the other without a group finished in between."""
AHEAD = 2
"""So many calls for each worker are handed out at a time: those in work, and the next ones."""


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
                        submitted = _submit(pool, method, again[0])
                        at_work[submitted] = again.popleft()
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


def reach(address: str) -> Any:
    """The module ray, connected to a cluster; `InputError` where there is none."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        text = "wants Ray: pip install 'memtrack[ray]'"
        raise mistake("compute", "ray", message=text) from None
    if ray.is_initialized():
        return ray
    host, _, port = address.rpartition(":")
    interrupted = signal.getsignal(signal.SIGINT)
    try:
        if host and port.isdecimal() and "/" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        text = f"no Ray cluster answers at {address!r}: {error}"
        raise mistake("compute", "ray", message=text) from None
    signal.signal(signal.SIGINT, interrupted)  # Ray takes it
    return ray


class Ray:
    """Workers on a Ray cluster, one for each core, or GPU where the task wants one.

    Ray calls again where a worker or its machine dies, a few times. The images travel through Ray; every
    machine has memtrack installed.
    """

    def __init__(self, task: Task, address: str) -> None:
        self._ray = ray = reach(address)
        arrays = Arrays.load(task.arrays) if isinstance(task.arrays, Path) else task.arrays
        arrays = Arrays(*(np.asarray(array) for array in vars(arrays).values()))  # shared, not pickled
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
        remote: Any = self._ray.remote(call_task).options(max_retries=DEATHS, **self._needs)
        waiting, at_work = iter(calls), dict[Any, Arguments]()
        try:
            while True:
                for call in islice(waiting, AHEAD * self.workers - len(at_work)):
                    at_work[remote.remote(self._task, method, call)] = call
                if not at_work:
                    return
                for ended in self._ray.wait(list(at_work))[0]:
                    try:
                        result = self._ray.get(ended)
                    except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError,
                            self._ray.exceptions.OutOfMemoryError) as error:  # fmt: skip
                        text = f"of a group of networks worker after worker died: {error}"
                        raise mistake("compute", "ray", message=text) from None
                    except self._ray.exceptions.RayTaskError as error:
                        raise error.cause or error from None
                    yield at_work.pop(ended), result
        finally:
            with suppress(Exception):
                for call in at_work:
                    self._ray.cancel(call, force=True)


def _call_task(task: Task, method: str, arguments: Arguments) -> Any:
    return getattr(task, method)(*arguments)
