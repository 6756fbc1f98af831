"""`memtrack upload`: send MLflow the data it missed while it was unreachable."""

from __future__ import annotations

import argparse
from functools import partial

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.sections.tracking import TrackingParams
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking import outbox, store
from memtrack.tracking.address import tracking_uri
from memtrack.tracking.contact import contact
from memtrack.tracking.refusals import reason


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Send the waiting messages, and once more what MLflow refused; returns 0 if none is left, else 1."""
    argparse.ArgumentParser(prog="memtrack upload", description=__doc__).parse_args(argv)
    try:
        tracking = params.load().tracking
    except InputError:
        tracking = TrackingParams()
    tracking_uri(tracking)  # MLFLOW_TRACKING_URI or params.yaml may have the credentials of a store
    left = 0
    for run in outbox.waiting(refused=True):
        name = f"run {run.folder.name}"
        send = partial(store.upload, run, again=True, wait=False)
        try:
            print(f"{name}: {contact(run.store).ask(send, run, insist=True, patience=10)} messages sent")
        except Exception as error:
            print(f"{name}: {run.pending()} messages are waiting: {reason(error)}")
        refused = run.refused()
        for line in outbox.listed(refused):
            print(f"{name}: not sent: {line}")
        if refused:
            print(f"{name}: remove {run.folder} to discard what cannot be sent")
        left += bool(refused or run.pending())
    if not left:
        print("nothing is waiting")
    return int(left > 0)


if __name__ == "__main__":
    main()
