"""The wrapper around every command, which reports errors to the user."""

from __future__ import annotations

import errno
import functools
import gc
import sys
from collections.abc import Callable

from memtrack.config.errors import InputError

IN_THE_WAY = {
    errno.EISDIR: "memtrack must write a file there: move the folder away",
    errno.ENOTEMPTY: "memtrack must write there: move away what is in the folder",
    errno.ELOOP: "memtrack must write there: remove the link that leads in a circle",
    errno.ENAMETOOLONG: "use shorter names, or a project with a shorter path",
    errno.EMFILE: "allow more open files (ulimit -n), and run the same command again",
    errno.ENFILE: "end other programs, and run the same command again",
    errno.EIO: "the disk has failed there: look after it, and run the same command again",
}
"""What to do about an error of the system that is no fault of the program."""


def entry_point(main: Callable[..., int | None]) -> Callable[..., None]:
    """Make `main` end the process: status 2 and no traceback for bad input, 130 for Ctrl-C."""

    @functools.wraps(main)
    def run(*args: object) -> None:
        gc.freeze()  # imported objects stay alive: to scan them again, also at exit, takes a second
        try:
            sys.exit(main(*args) or 0)
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            file = f" ({error.filename})" if error.filename else ""
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                print(
                    f"{error.strerror}{file}: memtrack must write there: make it a folder that you may "
                    "write to",
                    file=sys.stderr,
                )
                sys.exit(1)
            if error.errno in IN_THE_WAY:
                print(f"{error.strerror}{file}: {IN_THE_WAY[error.errno]}", file=sys.stderr)
                sys.exit(1)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            print(
                f"the disk is full{file}: everything that is complete is kept; free some space and run the "
                "same command again to continue from there",
                file=sys.stderr,
            )
            sys.exit(1)
        except FloatingPointError as error:  # a diverged training; the message says how to fix it
            print(error, file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    return run
