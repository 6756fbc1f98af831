"""Workers end with the process that started them, and give results in order."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from memtrack.terminal.workers import end_with, end_with_parent, map_in_workers


def begin(told: int) -> None:
    """Start two workers, which keep the pipe `told` open as long as they live."""
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"), initializer=end_with_parent)
    pool.submit(os.getpid).result()
    os.write(told, b"begun")
    time.sleep(60)


def test_workers_end_with_a_killed_parent() -> None:
    reading, writing = os.pipe()
    parent = multiprocessing.get_context("fork").Process(target=begin, args=(writing,))
    parent.start()
    os.close(writing)
    assert os.read(reading, 5) == b"begun"
    os.kill(parent.pid or 0, signal.SIGKILL)
    parent.join()
    assert select.select([reading], [], [], 10)[0], "workers are still alive"
    assert os.read(reading, 5) == b""
    os.close(reading)


def watch(other: int, told: int) -> None:
    """A process that ends with another one, which is not its parent."""
    end_with(other)
    os.write(told, b"begun")
    time.sleep(60)


def test_a_process_ends_with_another() -> None:
    context = multiprocessing.get_context("fork")
    reading, writing = os.pipe()
    other = context.Process(target=time.sleep, args=(60,))
    other.start()
    process = context.Process(target=watch, args=(other.pid, writing))
    process.start()
    os.close(writing)
    assert os.read(reading, 5) == b"begun"
    assert not select.select([reading], [], [], 0.7)[0]
    os.kill(other.pid or 0, signal.SIGKILL)  # it stays a zombie
    process.join(10)
    assert process.exitcode == 1
    other.join()
    os.close(reading)


def of_process(number: int) -> tuple[int, int]:
    if number == 666:
        raise ValueError(number)
    return number, os.getpid()


def test_results_of_workers_come_in_order_and_few_items_are_in_memory() -> None:
    taken: list[int] = []
    results = map_in_workers(of_process, (taken.append(number) or number for number in range(100)))
    assert next(results)[0] == 0
    assert len(taken) <= 2 * (os.cpu_count() or 1) + 1
    rest = list(results)
    assert [number for number, _ in rest] == list(range(1, 100))
    assert os.getpid() not in {process for _, process in rest}


def test_a_single_item_needs_no_process() -> None:
    assert list(map_in_workers(of_process, [5])) == [(5, os.getpid())]
    assert list(map_in_workers(of_process, [])) == []


def test_an_error_of_a_worker_is_raised() -> None:
    with pytest.raises(ValueError, match="666"):
        list(map_in_workers(of_process, [1, 2, 666, 3]))
