"""Stage `duplicates`: find exact and near duplicates, and those with different labels, in
results/duplicates/NAME.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import DUPLICATES_RESULTS, EVALUATE_RESULTS, TRAIN_RESULTS
from memtrack.core.labels.duplicates import Pair, digests, exact_pairs, near_pairs, thumbnails
from memtrack.data.image_cache import CHUNK
from memtrack.data.neighbours import nearest_neighbours
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.duplicates import draw_conflicts, duplicate_metrics, duplicate_table
from memtrack.report.metrics import DuplicatesMetrics
from memtrack.report.sample_tables import read_scores, write_csv
from memtrack.runs.causes import evaluation_causes
from memtrack.runs.trained_networks import TrainedNetworks
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tracking.reference import RunReference, read_reference
from memtrack.tracking.run import Run, check_store


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    check_store(params.tracking)
    trained, folder = TRAIN_RESULTS / name, DUPLICATES_RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    reference = read_reference(TRAIN_RESULTS / name, f"run `dvc repro train@{name}`")
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    scores = read_scores(EVALUATE_RESULTS / name, variant, evaluation_causes(params, variant))
    pairs = _pairs(params, data, variant, trained / "checkpoints")
    table = duplicate_table(variant, pairs, scores)
    write_csv(table, folder / "duplicates.csv")
    metrics = duplicate_metrics(pairs, table)
    write_json(metrics, folder / "metrics.json")
    draw_conflicts(variant, table, folder / "pictures" / "conflicting.png")
    _log(params, reference, folder, metrics)
    print(f"{name}: {metrics.in_words()}")


def _pairs(params: Params, data: PreparedData, variant: VariantData, trained: Path) -> list[Pair]:
    """Duplicates by pixels, and by the features of the network at the end of training."""
    count, options = len(variant.ids), params.duplicates
    hashes: list[bytes] = []
    small = []
    for start in Progress(range(0, count, CHUNK), "read the images"):
        images = variant.read(range(start, min(start + CHUNK, count)))
        hashes += digests(images)
        small.append(thumbnails(images))
    exact = exact_pairs(hashes)
    distinct = np.setdiff1d(np.arange(count), [pair.second for pair in exact])
    networks = TrainedNetworks(params, data, variant, trained, (), f"run `dvc repro train@{variant.name}`")
    seen = {"pixels": np.concatenate(small), "features": networks.features(params.train.epochs)}
    near: dict[tuple[int, int], Pair] = {}
    for by, vectors in seen.items():
        for pair in near_pairs(
            vectors, distinct, nearest_neighbours, by=by, ratio=options.ratio, neighbours=options.neighbours
        ):
            near.setdefault((pair.first, pair.second), pair)
    return [*exact, *near.values()]


def _log(params: Params, reference: RunReference, folder: Path, metrics: DuplicatesMetrics) -> None:
    """Add the results to the MLflow run that training opened."""
    paths = (folder / "duplicates.csv", *folder.glob("pictures/*.png"))
    numbers = {key: float(value) for key, value in metrics.model_dump().items()}
    files = {f"duplicates/{path.name}": path for path in paths}
    Run.of_finished_training(params, reference, "duplicates").results(files, numbers)


if __name__ == "__main__":
    main()
