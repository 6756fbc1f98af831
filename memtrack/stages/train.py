"""Stage `train`: train on one variant and record the trajectory, in results/train/NAME."""

from __future__ import annotations

from memtrack.config.paths import TRAIN_RESULTS
from memtrack.runs.processes import in_processes
from memtrack.runs.training import train
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    in_processes(
        params, lambda world: train(params, name, TRAIN_RESULTS / name, world=world),
        "memtrack.stages.train", name,
    )  # fmt: skip


if __name__ == "__main__":
    main()
