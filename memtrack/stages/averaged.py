"""Stage `averaged`: train a variant several times, and average its scores, in results/averaged/NAME.

It does nothing for a variant that is not in averaged.variants.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import AVERAGED_RESULTS
from memtrack.data.manifest import write_manifest
from memtrack.report.metrics import AveragedMetrics
from memtrack.stages import keep_only, load_with_variant
from memtrack.terminal.entry_point import entry_point

if TYPE_CHECKING:
    from memtrack.core.training.distributed import World


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    folder = AVERAGED_RESULTS / name
    wanted = name in params.averaged.variants
    keep_only(folder / "trainings", [other.key for other in params.averaged.trainings] if wanted else [])
    if wanted:
        _average(params, name, folder)
    else:
        (folder / "averaged.csv").write_text("id\n")
        write_json(AveragedMetrics(), folder / "metrics.json")
        write_manifest(folder, {}, {})
        print(f"{name}: is not in averaged.variants: nothing to do")


def _average(params: Params, name: str, folder: Path) -> None:
    """Train, and write the mean ranks."""
    # these take seconds to import, and most variants do not need them
    from memtrack.report import averaged as report
    from memtrack.runs.averaged import average
    from memtrack.runs.processes import in_processes
    from memtrack.tracking.run import check_store

    def work(world: World) -> None:
        found = average(params, name, world)
        if found is not None:
            print(f"{name}: {report.write(found, folder).in_words()}")

    check_store(params.tracking)
    in_processes(params, work, "memtrack.stages.averaged", name)


if __name__ == "__main__":
    main()
