"""`memtrack upload`: send MLflow the data it missed while it was unreachable."""

from __future__ import annotations

import argparse

from memtrack.terminal.entry_point import entry_point
from memtrack.tracking import outbox, store


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Send the waiting messages; returns 0 if none is left, else 1."""
    argparse.ArgumentParser(prog="memtrack upload", description=__doc__).parse_args(argv)
    left = 0
    for run in outbox.waiting():
        try:
            print(f"run {run.folder.name}: {store.upload(run)} messages sent")
        except store.ERRORS as error:
            left += 1
            print(f"run {run.folder.name}: {run.pending()} messages are waiting: {str(error)[:300]}")
    if not left:
        print("nothing is waiting")
    return int(left > 0)


if __name__ == "__main__":
    main()
