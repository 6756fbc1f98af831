"""MLflow: runs, the outbox of messages that the store lacks, and the store."""

import os
from pathlib import Path

try:
    Path.home()
except RuntimeError:  # a user id without a name and no HOME; importing MLflow would fail
    os.environ["HOME"] = "/"  # as Docker does
