"""Workers on this machine, one process each."""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from memtrack.config.sections.compute import ComputeParams
from memtrack.ensembles.executors.base import AHEAD, DEATHS, Arguments
from memtrack.ensembles.group_trainer import GroupTrainer
from memtrack.terminal.workers import end_with_parent


class Processes:
    """Workers on this machine. They end with the process that started them, however it ends."""

    def __init__(self, trainer: GroupTrainer, workers: int, options: ComputeParams) -> None:
        self.workers = workers
        self._trainer, self._options = trainer, options

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """See `Executor`.

        Raises:
            InputError: if worker after worker dies.
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
                            "the processes that train the networks die one after the other, perhaps because "
                            "memory runs out: set this key, or compute.together, to a lower number"
                        )
                        raise self._options.mistake("workers", message=text)
                    _end(pool)
                    again.extend(at_work.values())
                    pool, at_work = self._pool(), {}
        finally:
            _end(pool)

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(self._trainer,))


def _submit(pool: ProcessPoolExecutor, method: str, call: Arguments) -> Future[Any]:
    """Submit a call. A new worker would first import the main module of this process, and with it MLflow and
    everything else that a stage imports. That module is therefore hidden from the worker."""
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
    """End the workers without waiting for running calls."""
    processes = list((pool._processes or {}).values())  # Python 3.14 has kill_workers
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


_of_this_worker: list[GroupTrainer] = []


def _begin(trainer: GroupTrainer) -> None:
    _of_this_worker[:] = [trainer]
    end_with_parent()


def _call(method: str, arguments: Arguments) -> Any:
    return getattr(_of_this_worker[0], method)(*arguments)
