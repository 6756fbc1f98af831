"""A file of messages that a killed process leaves readable: a line each, with its checksum before it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

Message = dict[str, Any]

_LENGTH = 16


class Journal:
    """The messages of a file, read again when another process has changed it.

    A last line that is incomplete because the process was killed is no message.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version: object = None
        self._first = ""
        self._messages: dict[int, Message] = {}
        self._lines = 0

    @property
    def first(self) -> str:
        """The checksum of the first line, which tells this journal from others; empty if there is no line."""
        self._read()
        return self._first

    @property
    def messages(self) -> dict[int, Message]:
        """The messages by number, without those whose line is damaged."""
        self._read()
        return self._messages

    @property
    def lines(self) -> int:
        """How many messages there are with those that are damaged."""
        self._read()
        return self._lines

    @property
    def damaged(self) -> list[int]:
        """The numbers of the damaged messages."""
        return sorted(set(range(self.lines)) - self.messages.keys())

    def append(self, message: Message) -> None:
        """Add a message, in place of an incomplete last line. It is on the disk on return."""
        whole = self._bytes().rfind(b"\n") + 1
        with self.path.open("ab") as file:
            file.truncate(whole)
            file.write(line(message) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _bytes(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _read(self) -> None:
        try:
            stat = self.path.stat()
            version = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            version = None
        if version is not None and version == self._version:
            return
        content = self._bytes()
        lines = content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]
        found = {number: parsed(text) for number, text in enumerate(lines)}
        self._messages = {one.get("place", number): one for number, one in found.items() if one is not None}
        self._lines = max([len(lines), *(number + 1 for number in self._messages)])
        self._first = b"".join(lines[:1])[:_LENGTH].decode(errors="replace")
        self._version = version


def line(content: Message) -> bytes:
    """A message with its checksum before it."""
    text = json.dumps(content).encode()
    return b"%s %s" % (_checksum(text), text)


def parsed(text: bytes) -> Message | None:
    """The message of a line, or None if it is damaged. The lines of earlier versions have no checksum."""
    checksum, _, content = text.partition(b" ")
    if text.startswith(b"{"):
        content = text
    elif _checksum(content) != checksum:
        return None
    try:
        message = json.loads(content)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_LENGTH].encode()
