"""Messages for MLflow, kept in .memtrack/mlflow until the tracking store has them.

Each run has a folder. journal.jsonl has one line per message, in order: a checksum and the message.
files/N has copies of the files of message N that are still to be uploaded. `progress` says which run
of the store gets the messages, how many of them were sent, and what the store refused.

Numbers, tags and the status of all messages are sent first, then files: a file that cannot be sent holds
nothing else back. A message at which the store fails again and again (500) is set aside once the store takes
the next one. Sending a message twice changes nothing: the run is found by its key, metrics keep the time at
which they were measured, and files are overwritten.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import BaseFileLock, FileLock

from memtrack.config.paths import project_root
from memtrack.core.files import whole_file
from memtrack.tracking.journal import Journal, Message, line, parsed
from memtrack.tracking.refusals import internal_error, reason

FOLDER = Path(".memtrack/mlflow")
GONE = ".gone"
FINISHED = "FINISHED"
"""The status of a run that no longer needs an outbox; a run that was killed or failed may be resumed."""
TRIES, TRIED_FOR = 5, 60.0
"""A message that failed so often, over so many seconds or more, is set aside if the next one is taken."""
SHOWN = 3
"""At most this many refused things are named; the rest are counted."""


class FilesWait(Exception):
    """The store has all numbers, and cannot take files at the moment; the cause is the error of the store."""


class RunGone(Exception):
    """The run of the store was deleted: its messages need another one."""


class Target(Protocol):
    """The run of a store to which messages go.

    Both methods raise `RunGone` if it was deleted, and other errors if the message may be accepted later.
    """

    run: str

    def facts(self, message: Message) -> dict[str, str]:
        """Send everything but the files; returns what the store refuses for good, with the reasons."""

    def file(self, message: Message, name: str, path: Path) -> str | None:
        """Upload a file or folder of the message; returns the reason if the store refuses it for good."""


@dataclass
class _Progress:
    """How far the store is.

    Attributes:
        journal: the checksum of the first line, so that the progress of another journal is not used.
        run: the store's id of the run. sent: the messages below this number were sent, but for their files.
        facts, files: what was refused, by the number of the message: names and reasons.
        failing: the message that the store failed at the last time: its number and kind, the error, when it
            failed first, and how many times.
    """

    journal: str
    run: str | None = None
    sent: int = 0
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    failing: dict[str, Any] = field(default_factory=dict)


class Outbox:
    """The messages of one run. The first one opens the run and is sent before all others."""

    def __init__(self, key: str) -> None:
        self.folder = project_root() / FOLDER / key
        self.lock = FileLock(f"{self.folder}.lock")
        self.sending = FileLock(f"{self.folder}.sending.lock")  # held while the store is waited for
        self._journal = Journal(self.folder / "journal.jsonl")

    @property
    def exists(self) -> bool:
        """Whether the run is open: it has messages, and has not been finished with all of them sent."""
        return self.opening is not None and not self._closed()

    @property
    def opening(self) -> Message | None:
        """What opens the run, or None if there is no such message or it is damaged."""
        return next((message["open"] for message in self.messages() if "open" in message), None)

    def messages(self) -> list[Message]:
        """All messages, sent or not, without those whose line is damaged. A last line that is incomplete
        because the process was killed is no message."""
        return [message for _, message in sorted(self._journal.messages.items())]

    @property
    def store(self) -> str:
        """The URI of the store that the messages are for; only of an outbox with an opening."""
        assert self.opening is not None
        return str(self.opening["record"]["tracking_uri"])

    def pending(self) -> int:
        """How many messages the store does not have yet, without those that it refused."""
        progress = self._progress()
        return len({*self._unsent(progress), *self._with_files(progress)})

    def refused(self) -> list[tuple[str, str]]:
        """What the store refused, and what was damaged here: (what, why)."""
        progress = self._progress()
        found = [one for part in (progress.facts, progress.files) for names in part.values()
                 for one in names.items()]  # fmt: skip
        return found + [(f"line {number + 1}", f"{self._journal.path} is damaged there")
                        for number in self._journal.damaged]  # fmt: skip

    def add(self, files: Mapping[str, Path] | None = None, **message: Any) -> Message:
        """Add a message with the current time, and copies of files or folders to upload under these names;
        returns it.

        Raises:
            OSError: if the disk is full.
        """
        with self.locked():
            number = self._journal.lines
            kept = {}
            for name, path in (files or {}).items():
                copy = self.folder / "files" / str(number) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, copy, dirs_exist_ok=True)
                else:
                    shutil.copy2(path, copy)
                kept[name] = str(copy.relative_to(self.folder))
            entry = {"time": int(time.time() * 1000), "place": number, "files": kept, **message}
            self._journal.append(entry)
        return entry

    def send(self, target: Target, again: bool = False) -> int:
        """Send the pending messages until the store fails; returns how many were sent.

        If the run is finished and the store has everything, the folder is removed. What it refused stays.
        A target that is another run than before gets all messages again.

        Args:
            again: also send what the store refused before.

        Raises:
            FilesWait: if the store has all but the files. The errors of `target`: if it fails before.
        """
        done: set[int] = set()
        with self.locked(self.sending):
            if not self.messages():
                return 0
            progress = self._progress()
            if progress.run not in (None, target.run):
                print(
                    f"the MLflow run {progress.run} was deleted: a new run, {target.run}, gets everything "
                    "but the files that were sent before",
                    file=sys.stderr,
                )
            if progress.run != target.run:
                progress = _Progress(progress.journal, target.run)
            repeated = [one for one in sorted(self._journal.messages) if again and str(one) in progress.facts]
            if again:
                progress.files = {}
                self._save(progress)
            while True:
                facts = self._unsent(progress) or repeated
                files = [number for number in self._with_files(progress) if number < progress.sent]
                if not facts and not files:
                    break
                number, *later = facts or files
                send = self._send_facts if facts else self._send_files
                try:
                    send(number, target, progress)
                except RunGone:
                    raise
                except Exception as error:
                    if not self._fails_again(number, bool(facts), error, progress) or not later:
                        raise
                    send(later[0], target, progress)  # if this one fails too, the store is away
                    self._set_aside(number, bool(facts), error, progress)
                    done.add(later[0])
                else:
                    done.add(number)
                repeated = [one for one in repeated if one not in (number, *done)]
            self.forget_if_done()
        return len(done)

    def forget_if_done(self) -> None:
        """Remove everything if the run is finished and the store has all of it."""
        with self.lock:  # nothing may be added in between
            if self._closed() and not self.refused():
                self.forget()

    def forget(self) -> None:
        """Remove all messages in one step: a partly removed folder would be sent again in part."""
        gone = self.folder.with_name(f"{self.folder.name}-{time.time_ns()}{GONE}")
        with self.lock:
            self.folder.rename(gone)
            shutil.rmtree(gone)
            for lock in (self.lock, self.sending):
                Path(lock.lock_file).unlink(missing_ok=True)

    def waiting_bytes(self) -> int:
        """The size of the files that are sent next."""
        files = self._with_files(self._progress())
        folder = self.folder / "files" / str(files[0] if files else "")
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if files else 0

    def _send_facts(self, number: int, target: Target, progress: _Progress) -> None:
        """Send everything of a message but its files."""
        refused = target.facts(self._journal.messages[number])
        progress.facts.pop(str(number), None)
        if refused:
            progress.facts[str(number)] = refused
        progress.sent = max(progress.sent, number + 1)
        self._save(progress)

    def _send_files(self, number: int, target: Target, progress: _Progress) -> None:
        """Upload the files of a message. A file that is no longer here was sent before."""
        message, refused = self._journal.messages[number], {}
        for name, kept in message["files"].items():
            path = self.folder / kept
            if not path.exists():
                continue
            try:
                reason = target.file(message, name, path)
            except RunGone:
                raise
            except Exception as error:
                raise FilesWait(str(error)) from error
            if reason is None:
                gone = path.rename(path.with_name(path.name + GONE))  # in one step: a folder is sent whole
                shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
            else:
                refused[name] = reason
        if refused:
            progress.files[str(number)] = refused
            self._save(progress)
        else:
            shutil.rmtree(self.folder / "files" / str(number), ignore_errors=True)

    def _fails_again(self, number: int, facts: bool, error: Exception, progress: _Progress) -> bool:
        """Note that the store failed at a message; whether it did so often enough to be set aside."""
        if not internal_error(error.__cause__ if isinstance(error, FilesWait) and error.__cause__ else error):
            return False
        now = {"message": number, "facts": facts, "error": _VARIES.sub("#", reason(error))}
        if now.items() <= progress.failing.items():
            progress.failing["times"] += 1
        else:
            progress.failing = {**now, "since": time.time(), "times": 1}
        self._save(progress)
        tried_for = time.time() - progress.failing["since"]
        return bool(progress.failing["times"] >= TRIES and tried_for >= TRIED_FOR)

    def _set_aside(self, number: int, facts: bool, error: Exception, progress: _Progress) -> None:
        """Treat a message as one that the store refuses for good, although its error is one that passes."""
        message = self._journal.messages[number]
        what = [f"metric {name}" for part in ("metrics", "history") for name in message.get(part, {})]
        what += [name for name in ("open", "tags", "dataset", "status") if message.get(name)]
        names = (what or [f"message {number}"]) if facts else list(message["files"])
        text = f"failed {progress.failing['times']} times while other messages were taken: {reason(error)}"
        (progress.facts if facts else progress.files)[str(number)] = dict.fromkeys(names, text)
        progress.failing = {}
        self._save(progress)

    def _closed(self) -> bool:
        """Whether the last message ends the run for good, and the store got or refused everything."""
        last = (self.messages() or [{}])[-1]
        return (last.get("status") == FINISHED or bool(last.get("final"))) and not self.pending()

    def _unsent(self, progress: _Progress) -> list[int]:
        return sorted(number for number in self._journal.messages if number >= progress.sent)

    def _with_files(self, progress: _Progress) -> list[int]:
        """The messages that have files here which the store has not refused."""
        folder = self.folder / "files"
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        names -= progress.files.keys()
        return [number for number in sorted(self._journal.messages) if str(number) in names]

    def _progress(self) -> _Progress:
        """What the file `progress` says. Without it messages are sent again, which does no harm."""
        journal, file = self._journal.first, self.folder / "progress"
        found = parsed(file.read_bytes()) if file.exists() else None
        return _Progress(**found) if found and found.get("journal") == journal else _Progress(journal)

    def _save(self, progress: _Progress) -> None:
        with whole_file(self.folder / "progress") as file:
            file.write(line(asdict(progress)))

    def locked(self, lock: BaseFileLock | None = None) -> BaseFileLock:
        """Create the folder and return its lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return lock or self.lock


_VARIES = re.compile(r"0x[0-9a-f]+|\d+")
"""What differs between two reports of the same error."""


def waiting(refused: bool = False) -> list[Outbox]:
    """The outboxes of all runs that have unsent messages, in the order in which they were opened.

    Args:
        refused: also those of which the store refused something.
    """
    folder = project_root() / FOLDER
    for gone in folder.glob(f"*{GONE}"):  # left by a process that was killed while it removed them
        shutil.rmtree(gone, ignore_errors=True)
    found: list[tuple[int, str, Outbox]] = []
    for outbox in _readable(folder):
        if outbox.pending() or (refused and outbox.refused()):
            found.append((outbox.messages()[0]["time"], outbox.folder.name, outbox))
        elif not outbox.exists:  # its process was killed before it could remove the folder
            outbox.forget_if_done()
    return [outbox for *_, outbox in sorted(found, key=lambda entry: entry[:2])]


def _readable(folder: Path) -> Iterator[Outbox]:
    """The outboxes whose run is known; the others are named, and stop nothing."""
    for path in folder.glob("*/journal.jsonl"):
        outbox = Outbox(path.parent.name)
        try:
            if outbox.opening is not None:
                yield outbox
            elif outbox._journal.lines:
                raise ValueError("its first line is damaged")
        except (OSError, ValueError) as error:
            print(
                f"{path} cannot be sent: {error}. The stage of this run sends everything again when it is "
                f"done again; remove {path.parent} to discard it",
                file=sys.stderr,
            )


def listed(refused: list[tuple[str, str]]) -> list[str]:
    """A line for each reason of `Outbox.refused`, with what was refused for it."""
    reasons: dict[str, list[str]] = {}
    for what, why in refused:
        reasons.setdefault(why, []).append(what)
    return [
        ", ".join(names[:SHOWN])
        + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        + f": {why}"
        for why, names in reasons.items()
    ]
