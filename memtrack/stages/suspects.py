"""Stage `suspects`: learn from labels flipped on purpose who is mislabelled, in results/suspects/NAME.

It does nothing for a variant that is not in suspects.variants.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import SUSPECTS_RESULTS
from memtrack.data.manifest import write_manifest
from memtrack.report.metrics import SuspectsMetrics
from memtrack.stages import keep_only, load_with_variant
from memtrack.terminal.entry_point import entry_point

if TYPE_CHECKING:
    from memtrack.core.training.distributed import World


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    folder = SUSPECTS_RESULTS / name
    draws = params.suspects.draws if name in params.suspects.variants else 0
    keep_only(folder / "trainings", [str(draw) for draw in range(draws)])
    keep_only(folder / "pictures", ["probabilities.png"] if draws else [])
    if draws:
        _learn(params, name, folder)
    else:
        _write_nothing(folder)
        print(f"{name}: is not in suspects.variants: nothing to do")


def _write_nothing(folder: Path) -> None:
    """Write the files that DVC expects."""
    (folder / "suspects.csv").write_text("id\n")
    (folder / "weights.csv").write_text("score\n")
    write_json(SuspectsMetrics(), folder / "metrics.json")
    write_manifest(folder, {}, {})


def _learn(params: Params, name: str, folder: Path) -> None:
    """Train with flipped labels, learn from them, and write the results."""
    # these take seconds to import, and most variants do not need them
    from memtrack.report import suspects as report
    from memtrack.runs.processes import in_processes
    from memtrack.runs.suspects import learn
    from memtrack.tracking.run import Run, check_store

    def work(world: World) -> None:
        found = learn(params, name, world)
        if found is None:
            return
        metrics = report.write(found, folder)
        numbers = {f"suspects/{key}": value for key, value in metrics.model_dump(exclude_none=True).items()}
        files = {f"suspects/{path.name}": path for path in folder.glob("*.csv")}
        files |= {report.PICTURE: folder / report.PICTURE, "suspects/metrics.json": folder / "metrics.json"}
        Run.of_finished_training(params, found.run.reference, "suspects").results(files, numbers)
        for text in metrics.in_words():
            print(f"{name}: {text}")

    check_store(params.tracking)
    in_processes(params, work, "memtrack.stages.suspects", name)


if __name__ == "__main__":
    main()
