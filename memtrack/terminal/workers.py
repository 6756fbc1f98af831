"""Worker processes that end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait

import psutil

LOOK_EVERY = 0.5
"""Seconds between two looks at another process."""


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
