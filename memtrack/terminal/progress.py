"""A progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Generic, TypeVar

from tqdm import tqdm

T = TypeVar("T")
LINE_EVERY = 10.0
"""Seconds between two lines if the output is not a terminal."""


class Progress(Generic[T]):
    """Iterate with a progress bar; `note` adds values (loss, accuracy) to it.

    An `inner` bar is shown below the bar of the outer loop and disappears when it is done. If the output
    is not a terminal, it prints nothing unless it takes long. `size` returns an item's part of the total.
    """

    def __init__(
        self,
        items: Iterable[T],
        what: str,
        total: int | None = None,
        *,
        inner: bool = False,
        size: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self.size = size
        self.inner = inner
        self.items = items
        self.what = what
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self._note = ""

    def __iter__(self) -> Iterator[T]:
        return self._bar() if sys.stderr.isatty() else self._lines()

    def note(self, **words: float) -> None:
        """Set the values that are shown beside the bar from now on."""
        self._note = ", ".join(f"{name} {value:.4g}" for name, value in words.items())

    def _bar(self) -> Iterator[T]:
        with tqdm(desc=self.what, total=self.total, leave=not self.inner) as bar:
            for item in self.items:
                yield item
                bar.set_postfix_str(self._note, refresh=False)
                bar.update(self.size(item))

    def _lines(self) -> Iterator[T]:
        start = printed = time.monotonic()
        done = 0
        for item in self.items:
            yield item
            done += self.size(item)
            now = time.monotonic()
            if (done == self.total and not self.inner) or now - printed >= LINE_EVERY:
                printed = now
                left = f", {(now - start) / done * (self.total - done):.0f} s left" if self.total else ""
                note = f", {self._note}" if self._note else ""
                print(
                    f"{self.what}: {done}/{self.total or '?'}{note}{left}",
                    file=sys.stderr,
                    flush=True,
                )
