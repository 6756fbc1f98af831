"""What an executor is: workers that train groups of networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

DEATHS = 3
"""So many workers may die one after the other without a group finished in between."""
AHEAD = 2
"""So many calls for each worker are handed out at a time: those in work, and the next ones."""
Arguments = tuple[int, ...]


class Executor(Protocol):
    """Calls methods of a `GroupTrainer` in workers."""

    workers: int

    def run(self, method: str, calls: Iterable[Arguments]) -> Iterator[tuple[Arguments, Any]]:
        """Each call's arguments and result, in the order in which they end. `calls` is read as workers become
        free; a call whose worker dies is made again."""
        ...
