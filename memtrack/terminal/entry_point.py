"""The wrapper around every command: what a person sees when it ends with an error."""

from __future__ import annotations

import errno
import functools
import gc
import sys
from collections.abc import Callable

from memtrack.config.errors import InputError


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
