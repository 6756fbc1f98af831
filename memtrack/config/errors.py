"""Errors in the user's input, with what the user needs to fix them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memtrack.config.secrets import without_secrets

SHOWN = 50
"""At most this many problems are printed one by one; the rest are counted."""


@dataclass(frozen=True)
class Problem:
    """One thing to fix: the file, the position in it (a line, a key or a row), and what was expected."""

    path: Path
    line: int | None = None
    loc: tuple[str | int, ...] = ()
    message: str = ""

    def __str__(self) -> str:
        where = str(self.path) + (f":{self.line}" if self.line is not None else "")
        key = without_secrets(".".join(_shortened(str(part), 80) for part in self.loc))
        message = _shortened(self.message, 2000)
        return _visible(f"{where}: {key}: {message}" if key else f"{where}: {message}")


def _shortened(text: str, most: int) -> str:
    """The beginning and the end of a long text: a message ends with what to do."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 3 :]}"


def _visible(text: str) -> str:
    """The text with its control characters as escapes: names from files must not move a terminal's cursor."""
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], text)


class InputError(Exception):
    """Input that cannot be used; `problems` lists all problems found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            shown.append(f"... and {len(self.problems) - SHOWN} more")
        return "\n".join(shown)
