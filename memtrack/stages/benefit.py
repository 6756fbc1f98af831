"""Stage `benefit`: compare the test accuracy of networks trained on the given labels of a variant, on the
cleaned ones, and without as many random samples, in results/benefit/NAME.

Networks from an interrupted run, or from a run with fewer seeds, are reused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import BENEFIT_RESULTS, CLEAN_RESULTS, TRAIN_RESULTS
from memtrack.data.cleaning import read_cleaned
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report import benefit as report
from memtrack.runs.benefit import BenefitTrainings, changed_samples, label_sets
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tracking.reference import read_reference
from memtrack.tracking.run import Run, check_store


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    seeds = params.clean.of(name).seeds
    check_store(params.tracking)
    folder = BENEFIT_RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    reference = read_reference(TRAIN_RESULTS / name, f"run `dvc repro train@{name}`")
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    cleaned, weights = read_cleaned(CLEAN_RESULTS / name, variant)
    sets = label_sets(variant, cleaned, params.train.seed, weights)
    accuracies = _accuracies(params, data, sets, seeds, folder)
    changed = changed_samples(variant, cleaned, weights)
    metrics = report.write(accuracies, changed, params.evaluate.confidence, folder)
    write_json(metrics, folder / "metrics.json")
    numbers = metrics.model_dump(exclude_none=True)
    Run.of_finished_training(params, reference, "benefit").results(
        {f"benefit/{report.TABLE}": folder / report.TABLE, report.PICTURE: folder / report.PICTURE},
        {f"benefit/{key}": float(value) for key, value in numbers.items()},
    )
    print(f"{name}: {metrics.in_words()}")


def _accuracies(
    params: Params, data: PreparedData, sets: dict[str, VariantData], seeds: Sequence[int], folder: Path
) -> pd.DataFrame:
    """Train every network. Test accuracies, a row a seed and a column a set of labels."""
    trainings = BenefitTrainings(params, data, folder / "trainings.jsonl")
    table = pd.DataFrame(index=list(seeds), columns=list(sets), dtype=float)

    def epochs() -> Iterator[None]:
        for seed in table.index:
            for name, labels in sets.items():
                for accuracy in trainings.run(seed, labels):
                    table.loc[seed, name] = accuracy
                    yield None

    total = table.size * params.train.epochs
    for _ in Progress(epochs(), "epochs of networks on given and cleaned labels", total):
        pass
    return table


if __name__ == "__main__":
    main()
