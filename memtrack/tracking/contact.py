"""The connection to a store: nothing is waited for longer than a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

from memtrack.tracking.outbox import Outbox
from memtrack.tracking.refusals import NoAnswer

T = TypeVar("T")
SLOWEST = 1e6
"""In bytes per second: a file is waited for as long as it takes at this rate."""


class Contact:
    """The connection to one store, shared by all runs of this process.

    One thread at a time asks the store, so that the order of messages is kept. If a store is silent, or
    answers too slowly, the thread is left alone: it ends when the store answers, and until then nothing
    else is sent there. It does not keep the process from ending; what it had not sent is still in the outbox.

    Attributes:
        next_try: when the store is asked next (`time.monotonic`). away: whether it failed the last time.
    """

    def __init__(self) -> None:
        self.next_try = 0.0
        self.away = False
        self._asked: Future[Any] | None = None

    def ask(
        self, work: Callable[[], T], outbox: Outbox | None = None, *, insist: bool = False, patience: int = 1
    ) -> T:
        """Do `work` in a thread; its result.

        Args:
            outbox: the messages that are sent; the size of their files adds to the deadline.
            insist: wait as long as messages arrive.
            patience: how many times the deadline to wait.

        Raises:
            NoAnswer: if it takes too long. The errors of `work`.
        """
        if self._asked is not None:
            self._wait(self._asked, outbox, insist, patience)
        asked: Future[T] = Future()
        self._asked = asked

        def run() -> None:
            try:
                asked.set_result(work())
            except BaseException as error:
                asked.set_exception(error)

        threading.Thread(target=run, name="MLflow", daemon=True).start()
        self._wait(asked, outbox, insist, patience)
        return asked.result()

    @staticmethod
    def _wait(asked: Future[Any], outbox: Outbox | None, insist: bool, patience: int) -> None:
        while True:
            left = outbox.pending() if outbox else 0
            seconds = patience * deadline() + (outbox.waiting_bytes() / SLOWEST if outbox else 0)
            if wait([asked], seconds).done:
                return
            if not insist or not outbox or outbox.pending() >= left:
                raise NoAnswer(f"it did not answer within {seconds:.0f} s (MLFLOW_HTTP_REQUEST_TIMEOUT)")


_contacts: dict[str, Contact] = {}


def contact(uri: str) -> Contact:
    """The connection of this process to a store."""
    return _contacts.setdefault(uri, Contact())


def deadline() -> float:
    """How long a store may take for a message, in seconds: MLFLOW_HTTP_REQUEST_TIMEOUT, 20 by default."""
    return float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())
