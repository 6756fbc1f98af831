"""The wrapper around every command, which reports errors to the user."""

from __future__ import annotations

import errno
import functools
import gc
import os
import re
import shutil
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
            status = main(*args) or 0
            sys.stdout.flush()
            sys.exit(status)
        except InputError as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        except BrokenPipeError:  # who reads the output has seen enough, as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            cause = _cause(error)
            path = cause.filename2 or cause.filename  # the second one is where something is copied to
            file = f" ({path})" if path else ""
            if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                print(
                    f"{cause.strerror}{file}: memtrack must write there: make it a folder that you may "
                    "write to",
                    file=sys.stderr,
                )
                sys.exit(1)
            if cause.errno in IN_THE_WAY:
                print(f"{cause.strerror}{file}: {IN_THE_WAY[cause.errno]}", file=sys.stderr)
                sys.exit(1)
            if cause.errno not in (errno.ENOSPC, errno.EDQUOT):
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


def _cause(error: OSError) -> OSError:
    """The error itself; of a folder that could not be copied the first one in it, which is text there."""
    if not isinstance(error, shutil.Error) or not isinstance(error.args[0], list):
        return error
    _, target, why = error.args[0][0]
    number = re.match(r"\[Errno (\d+)\]", str(why))
    return error if number is None else OSError(int(number[1]), os.strerror(int(number[1])), target)
