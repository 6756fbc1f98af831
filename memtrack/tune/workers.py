"""Processes that share a search."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Generator, Iterator
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

import torch
from optuna.study import Study

from memtrack.terminal.entry_point import entry_point
from memtrack.tune.options import Options
from memtrack.tune.search import Search, open_search
from memtrack.tune.study import finished

if TYPE_CHECKING:
    from memtrack.tune.recipes.search import RecipeSearch


def run_trials(options: Options, study: Study, deadline: float) -> Generator[None, None, None]:
    """Run the trials of a search in `tune.workers` processes; yields for each finished trial.

    If all of them ended with an error, this process exits with the status of one of them.
    """
    processes: list[BaseProcess] = []
    counted = len(finished(study))
    try:
        for process in _workers(options, deadline):
            process.start()
            processes.append(process)
        running = True
        while running:
            running = any(process.is_alive() for process in processes)
            now = len(finished(study))
            yield from [None] * (now - counted)
            counted = now
            time.sleep(0.2 * running)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    ended = [process.exitcode for process in processes]
    if all(ended):
        print(f"all workers ended early, with status {', '.join(map(str, ended))}", file=sys.stderr)
        sys.exit(max(map(abs, filter(None, ended))))
    for number, status in enumerate(ended):
        if status:
            print(f"worker {number} ended with status {status}; the others went on", file=sys.stderr)


def _workers(options: Options, deadline: float) -> Iterator[BaseProcess]:
    count = options.tune.workers
    threads = max(1, torch.get_num_threads() // count)
    # forked from a process that only imports modules, because torch's threads do not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for number in range(count):
        yield context.Process(target=_work, args=(options, number, threads, deadline))


@entry_point
def _work(options: Options, number: int, threads: int, deadline: float) -> int:
    """The work of a worker. It ends if the process that started it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all processes get Ctrl-C; the parent passes it on
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()
    try:
        for _ in _opened(options, number).run_trials(deadline):
            if parent is not None and not parent.is_alive():
                break
    except KeyboardInterrupt:
        return 130
    return 0


def _opened(options: Options, worker: int) -> Search | RecipeSearch:
    if not options.recipe:
        return open_search(options, worker)
    from memtrack.tune.recipes.search import open_recipe_search

    return open_recipe_search(options, worker)
