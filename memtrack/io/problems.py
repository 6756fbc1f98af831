"""What is wrong with a person's input, said so that they can mend it."""

from __future__ import annotations

import errno
import functools
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN = 50
"""At most so many problems are printed one by one; the rest are counted."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend: the file, where in it (a line, a key or a row), and what was expected."""

    path: Path
    line: int | None = None
    loc: tuple[str | int, ...] = ()
    message: str = ""

    def __str__(self) -> str:
        where = str(self.path) + (f":{self.line}" if self.line is not None else "")
        key = ".".join(str(part) for part in self.loc)
        return f"{where}: {key}: {self.message}" if key else f"{where}: {self.message}"


class InputError(Exception):
    """Input that cannot be used; `problems` holds everything found wrong, not the first alone."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            shown.append(f"... and {len(self.problems) - SHOWN} more")
        return "\n".join(shown)


def entry_point(main: Callable[..., int | None]) -> Callable[..., None]:
    """Make `main` end the process: status 2 and no traceback for bad input, 130 for Ctrl-C."""

    @functools.wraps(main)
    def run(*args: object) -> None:
        gc.freeze()  # what was imported stays: to look through it again, at the end too, takes a second
        try:
            sys.exit(main(*args) or 0)
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                print(
                    f"{error.strerror}{place}: memtrack has to write there: make it a folder that you may "
                    "write to",
                    file=sys.stderr,
                )
                sys.exit(1)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            print(
                f"the disk is full{place}: what is complete is kept; make room and run the same command "
                "again, and it goes on from there",
                file=sys.stderr,
            )
            sys.exit(1)
        except FloatingPointError as error:  # a training that diverged says how to mend it
            print(error, file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    return run
