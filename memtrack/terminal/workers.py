"""Worker processes that end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import wait
from typing import TypeVar

import psutil

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK_EVERY = 0.5
"""Seconds between two looks at another process."""


def map_in_workers(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of all items in their order, from a process a core. A single item is computed here.

    Items are taken from `items` as the processes need them, so that few are in memory at a time.
    """
    upcoming = iter(items)
    first = list(islice(upcoming, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    processes = os.cpu_count() or 1
    with ProcessPoolExecutor(processes, initializer=end_with_parent) as pool:
        waiting = deque(pool.submit(function, item) for item in first)
        for item in upcoming:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def end_with_parent() -> None:
    """Make this worker process end as soon as its parent has ended, also if the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def end_with(process: int) -> None:
    """Make this process end soon after another one has ended, also if that was killed."""

    def end() -> None:
        with suppress(psutil.NoSuchProcess):
            other = psutil.Process(process)
            while other.is_running() and other.status() != psutil.STATUS_ZOMBIE:
                time.sleep(LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
