"""`memtrack upload`: send MLflow the data it missed while it was unreachable."""

from __future__ import annotations

import argparse

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.sections.tracking import TrackingParams
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking import outbox, store
from memtrack.tracking.address import reported, tracking_uri


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Send the waiting messages; returns 0 if none is left, else 1."""
    argparse.ArgumentParser(prog="memtrack upload", description=__doc__).parse_args(argv)
    try:
        tracking = params.load().tracking
    except InputError:
        tracking = TrackingParams()
    tracking_uri(tracking)  # MLFLOW_TRACKING_URI or params.yaml may have the credentials of a store
    left = 0
    for run in outbox.waiting():
        try:
            print(f"run {run.folder.name}: {store.upload(run)} messages sent")
        except store.ERRORS as error:
            left += 1
            reason = reported(error)[:300]
            print(f"run {run.folder.name}: {run.pending()} messages are waiting: {reason}")
    if not left:
        print("nothing is waiting")
    return int(left > 0)


if __name__ == "__main__":
    main()
