"""Runs stages in children of a process that has imported them, so that a start takes no seconds.

Reads jobs from its standard input, a JSON object a line: the command, code to run in the child before
it, and the file for its output. Writes the child's exit status for each.
"""

import json
import os
import signal  # noqa: F401 (for the code of a job)
import sys
import traceback

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 (a child would import it)
import torch

import memtrack.tune.__main__ as tune
from memtrack.stages import (
    agreement,
    corrupt,
    duplicates,
    evaluate,
    memorization,
    prepare,
    repeat,
    train,
    utility,
)

MAINS = {
    "prepare": prepare.main, "corrupt": corrupt.main, "train": train.main, "evaluate": evaluate.main,
    "duplicates": duplicates.main, "repeat": repeat.main, "tune": tune.main,
    "memorization": memorization.main, "agreement": agreement.main, "utility": utility.main,
}  # fmt: skip

torch.use_deterministic_algorithms(True, warn_only=True)  # imports much


def work(job: dict) -> int:
    """The child's part."""
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = job["command"]
    try:
        exec(job["code"], globals())
        MAINS[sys.argv[0]]()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        status = work(job)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
