"""Stage `suspects`: learn from labels flipped on purpose who is mislabelled, in results/suspects/NAME.

It does nothing for a variant that is not in suspects.variants.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import SUSPECTS_RESULTS
from memtrack.data.manifest import write_manifest
from memtrack.report.metrics import SuspectsMetrics
from memtrack.report.sample_tables import SUSPECTS, write_csv
from memtrack.runs.causes import suspects_causes
from memtrack.runs.metrics import METRICS
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.run import Run, check_store

if TYPE_CHECKING:
    from memtrack.core.training.distributed import World
    from memtrack.runs.suspects import Suspects

COLUMNS = ["id", "image", "given_label", "suspicion", "mislabelled", "suggested_label",
           "suggested_probability"]  # fmt: skip
PICTURE = "pictures/probabilities.png"
WEIGHTS, WEIGHTS_COLUMNS = "weights.csv", ["score", "weight", "auroc"]


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    folder = SUSPECTS_RESULTS / name
    draws = params.suspects.draws if name in params.suspects.variants else 0
    _keep_trainings(folder / "trainings", draws)
    (folder / PICTURE).parent.mkdir(exist_ok=True)
    if draws:
        _learn(params, name)
        return
    (folder / PICTURE).unlink(missing_ok=True)
    for file, columns in ((SUSPECTS, COLUMNS), (WEIGHTS, WEIGHTS_COLUMNS)):
        pd.DataFrame(columns=columns).to_csv(folder / file, index=False)
    write_json(SuspectsMetrics(), folder / METRICS)
    write_manifest(folder, {}, {})
    print(f"{name}: is not in suspects.variants: nothing to do")


def _keep_trainings(folder: Path, count: int) -> None:
    """Remove the trainings of an earlier run that are not among the first `count`."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {str(draw) for draw in range(count)}
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path)


def _learn(params: Params, name: str) -> None:
    """Train with flipped labels, learn from them, and write the results."""
    from memtrack.runs.processes import in_processes  # torch takes seconds, and most variants need none
    from memtrack.runs.suspects import learn

    def work(world: World) -> None:
        suspects = learn(params, name, world)
        if suspects is not None:
            _write(params, name, suspects)

    check_store(params.tracking)
    in_processes(params, work, "memtrack.stages.suspects", name)


def _write(params: Params, name: str, suspects: Suspects) -> None:
    from memtrack.report import figures  # matplotlib takes a second, too

    folder, variant, found = SUSPECTS_RESULTS / name, suspects.variant, suspects.found
    names = np.asarray(variant.summary.classes, dtype=object)
    columns = (
        variant.ids,
        variant.images,
        names[variant.given],
        found.suspicion,
        found.probability,
        names[suspects.suggested],
        found.probability * suspects.share,
    )
    table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
    write_csv(table.sort_values("suspicion", ascending=False), folder / SUSPECTS)
    learned = (suspects.features, found.weights, found.aurocs)
    weights = pd.DataFrame(dict(zip(WEIGHTS_COLUMNS, learned, strict=True)))
    weights.to_csv(folder / WEIGHTS, index=False)
    corrupted = variant.corrupted if variant.flags_known else None
    figures.probabilities(found.probability, corrupted, folder / PICTURE)
    hits = 0 if corrupted is None else int((corrupted & found.called).sum())
    metrics = SuspectsMetrics(
        auroc_of_flips=found.auroc,
        wrong=found.wrong,
        wrong_low=found.low,
        wrong_high=found.high,
        called=int(found.called.sum()),
        expected_precision=found.expected_precision,
        expected_recall=found.expected_recall,
        precision=None if corrupted is None or not found.called.any() else hits / int(found.called.sum()),
        recall=None if corrupted is None else hits / int(corrupted.sum()),
    )
    write_json(metrics, folder / METRICS)
    write_manifest(folder, suspects_causes(params, variant), {SUSPECTS: folder / SUSPECTS})
    numbers = {f"suspects/{key}": value for key, value in metrics.model_dump(exclude_none=True).items()}
    files = {f"suspects/{file}": folder / file for file in (SUSPECTS, WEIGHTS, METRICS)}
    files[PICTURE] = folder / PICTURE
    Run.of_finished_training(params, suspects.run.reference, "suspects").results(files, numbers)
    for text in metrics.in_words():
        print(f"{name}: {text}")


if __name__ == "__main__":
    main()
