"""The interface of executors: workers that train groups of networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

DEATHS = 3
"""How many workers may die one after the other before a group is finished."""
AHEAD = 2
"""How many calls are handed out for each worker at a time: the running one and the next ones."""
Arguments = tuple[int, ...]


class Executor(Protocol):
    """Calls methods of a `GroupTrainer` in workers."""

    workers: int

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """Yield each call's arguments and result, in the order in which the calls end. `calls` is read as
        workers become free. A call whose worker dies is made again."""
        ...
