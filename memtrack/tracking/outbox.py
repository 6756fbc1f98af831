"""Messages for MLflow, kept in .memtrack/mlflow until the tracking store has them.

Each run has a folder: journal.jsonl has one line per message, in order; `sent` has the number of messages
that the store has; files/ has copies of the files to upload. Sending a message twice changes nothing: the
run is found by its key, metrics keep the time at which they were measured, and files are overwritten.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock

from memtrack.config.paths import project_root
from memtrack.core.files import whole_file

FOLDER = Path(".memtrack/mlflow")
GONE = ".gone"
FINISHED = "FINISHED"
"""The status of a run that no longer needs an outbox; a run that was killed or failed may be resumed."""


class DamagedOutbox(ValueError):
    """A journal that cannot be read."""


class Outbox:
    """The messages of one run. The first one opens the run and is sent before all others."""

    def __init__(self, key: str) -> None:
        self.folder = project_root() / FOLDER / key
        self.lock = FileLock(f"{self.folder}.lock")
        self._journal = self.folder / "journal.jsonl"
        self._sent = self.folder / "sent"

    @property
    def exists(self) -> bool:
        """Whether the run is open: it has messages, and has not been finished with all of them sent."""
        return self._whole_lines() > 0

    def messages(self) -> list[dict[str, Any]]:
        """All messages, sent or not. A line that is incomplete because the process was killed is ignored."""
        lines = self._content()[: self._whole_lines()].splitlines()
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            raise DamagedOutbox(f"{self._journal} is damaged: remove {self.folder} to discard it") from None

    @property
    def store(self) -> str:
        """The URI of the store that the messages are for."""
        return str(self.messages()[0]["open"]["record"]["tracking_uri"])

    def pending(self) -> int:
        """How many messages the store does not have yet."""
        return len(self.messages()) - self._count()

    def add(self, files: Mapping[str, Path] | None = None, **message: Any) -> None:
        """Add a message with the current time, and copies of files or folders to upload under these names.

        Raises:
            OSError: if the disk is full.
        """
        with self._locked():
            number = len(self.messages())
            kept = {}
            for name, path in (files or {}).items():
                copy = self.folder / "files" / str(number) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, copy, dirs_exist_ok=True)
                else:
                    shutil.copy2(path, copy)
                kept[name] = str(copy.relative_to(self.folder))
            line = json.dumps({"time": int(time.time() * 1000), "files": kept, **message})
            with self._journal.open("ab") as file:
                file.truncate(self._whole_lines())
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def send(self, upload: Callable[[dict[str, Any]], None]) -> int:
        """Pass the pending messages to `upload` until it raises; returns how many were sent.

        If the last message has the status FINISHED, the folder is removed.
        """
        done = 0
        with self._locked():
            messages, sent = self.messages(), self._count()
            for number, message in enumerate(messages[sent:], sent):
                message["files"] = {name: self.folder / path for name, path in message["files"].items()}
                upload(message)
                with whole_file(self._sent) as file:
                    file.write(str(number + 1).encode())
                shutil.rmtree(self.folder / "files" / str(number), ignore_errors=True)
                done += 1
            if messages and messages[-1].get("status") == FINISHED:
                self.forget()
        return done

    def forget(self) -> None:
        """Remove all messages in one step: a partly removed folder would be sent again in part."""
        gone = self.folder.with_name(f"{self.folder.name}-{time.time_ns()}{GONE}")
        self.folder.rename(gone)
        shutil.rmtree(gone)
        Path(self.lock.lock_file).unlink(missing_ok=True)

    def _content(self) -> bytes:
        return self._journal.read_bytes() if self._journal.exists() else b""

    def _whole_lines(self) -> int:
        return self._content().rfind(b"\n") + 1

    def _count(self) -> int:
        """How many messages were sent. Too small a number does no harm: messages are only sent again."""
        try:
            return int(self._sent.read_text())
        except (OSError, ValueError):
            return 0

    def _locked(self) -> BaseFileLock:
        """Create the folder and return its lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.lock


def waiting() -> list[Outbox]:
    """The outboxes of all runs that have unsent messages, in the order in which they were opened."""
    folder = project_root() / FOLDER
    for gone in folder.glob(f"*{GONE}"):  # left by a process that was killed while it removed them
        shutil.rmtree(gone, ignore_errors=True)
    found: list[tuple[int, str, Outbox]] = []
    for path in folder.glob("*/journal.jsonl"):
        outbox = Outbox(path.parent.name)
        try:
            if outbox.pending():
                found.append((outbox.messages()[0]["time"], path.parent.name, outbox))
        except DamagedOutbox as error:
            print(error, file=sys.stderr)
    return [outbox for *_, outbox in sorted(found, key=lambda entry: entry[:2])]
