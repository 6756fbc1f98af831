"""How much faster is a search than one training for each of its trials?

Run in a project in which the variants of tune.variant and tune.held_out are trained,

    python benchmarks/tune_speed.py [OPTIONS OF memtrack.tune] > results.json

The benchmark trains the variant again and searches again, both from an empty start in a copy, with the same
commands as a user. It prints the seconds and their ratio: as many trainings as trials against one search,
including everything that each does in addition to measuring (start-up, MLflow, pictures, the confirmation).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from memtrack.config.paths import TRAIN_RESULTS, TUNE_RESULTS
from memtrack.tune.options import pick_variant, read


def seconds(folder: Path, *command: str) -> float:
    """How long a command takes in `folder`; its output goes to standard error."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], cwd=folder, stdout=sys.stderr, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print the results as JSON."""
    options = read(sys.argv[1:])
    name, trials = pick_variant(options), options.tune.trials
    here = Path.cwd()
    os.environ["DVC_ROOT"] = ""  # the copy is a separate project
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for part in ("params.yaml", "dvc.yaml"):
            shutil.copy2(part, copy / part)
        (copy / "data").symlink_to(here / "data")
        train = seconds(copy, "memtrack.stages.train", name)
        shutil.rmtree(copy / TRAIN_RESULTS)
        (copy / TRAIN_RESULTS.parent).mkdir(exist_ok=True)
        (copy / TRAIN_RESULTS).symlink_to(here / TRAIN_RESULTS)
        search = seconds(copy, "memtrack.tune", *sys.argv[1:])
        (file,) = (copy / TUNE_RESULTS).glob("*/outcome.json")
        outcome = json.loads(file.read_text())
        shutil.copytree(copy / TUNE_RESULTS, here / TUNE_RESULTS, dirs_exist_ok=True)
    found = {
        "variant": name,
        "trials": trials,
        "one_training_seconds": round(train, 1),
        "search_seconds": round(search, 1),
        "search_in_trainings": round(search / train, 2),
        "times_faster_than_training_each_trial": round(trials * train / search, 1),
        **outcome,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
