"""Stage `duplicates`: find exact and near duplicates, and those with different labels, in
results/duplicates/NAME.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.json_files import read_json, write_json
from memtrack.config.params import Params
from memtrack.config.paths import DUPLICATES_RESULTS, EVALUATE_RESULTS, TRAIN_RESULTS
from memtrack.core.labels.duplicates import Pair, digests, exact_pairs, near_pairs, thumbnails
from memtrack.core.recording.features import features
from memtrack.data.batches import variant_batches
from memtrack.data.image_cache import CHUNK
from memtrack.data.neighbours import nearest_neighbours
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.duplicates import draw_conflicts, duplicate_metrics, duplicate_table
from memtrack.report.metrics import DuplicatesMetrics
from memtrack.report.sample_tables import read_scores, write_csv
from memtrack.runs.causes import evaluation_causes
from memtrack.runs.checkpoints import trained_checkpoints, trained_network
from memtrack.runs.networks import chosen_device
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tracking.reference import RunReference
from memtrack.tracking.run import Run, check_store

BATCH = 512


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    check_store(params.tracking)
    trained, folder = TRAIN_RESULTS / name, DUPLICATES_RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    data = PreparedData()
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    scores = read_scores(EVALUATE_RESULTS / name, variant, evaluation_causes(params, variant))
    pairs = _pairs(params, data, variant, trained / "checkpoints")
    table = duplicate_table(variant, pairs, scores)
    write_csv(table, folder / "duplicates.csv")
    metrics = duplicate_metrics(pairs, table)
    write_json(metrics, folder / "metrics.json")
    draw_conflicts(variant, table, folder / "pictures" / "conflicting.png")
    _log(params, read_json(RunReference, trained / "run.json"), folder, metrics)
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
    seen = {"pixels": np.concatenate(small), "features": _features(params, data, variant, trained)}
    near: dict[tuple[int, int], Pair] = {}
    for by, vectors in seen.items():
        for pair in near_pairs(
            vectors, distinct, nearest_neighbours, by=by, ratio=options.ratio, neighbours=options.neighbours
        ):
            near.setdefault((pair.first, pair.second), pair)
    return [*exact, *near.values()]


def _features(params: Params, data: PreparedData, variant: VariantData, trained: Path) -> NDArray[np.float32]:
    """The features of the last epoch's network, (N, features)."""
    device, last = chosen_device(params.train), params.train.epochs
    remedy = f"run `dvc repro train@{variant.name}`"
    checkpoints = trained_checkpoints(params, variant, trained, remedy=remedy)
    model = trained_network(params.train, data.info, checkpoints, last, remedy=remedy)
    workers = params.train.workers
    batches = variant_batches(data, variant, batch_size=BATCH, device=device, workers=workers)
    found = features(model.to(device), batches)
    return np.concatenate(list(Progress(found, "features of the network", total=len(batches))))


def _log(params: Params, reference: RunReference, folder: Path, metrics: DuplicatesMetrics) -> None:
    """Add the results to the MLflow run that training opened."""
    paths = (folder / "duplicates.csv", *folder.glob("pictures/*.png"))
    numbers = {key: float(value) for key, value in metrics.model_dump().items()}
    files = {f"duplicates/{path.name}": path for path in paths}
    Run.of_finished_training(params, reference, "duplicates").results(files, numbers)


if __name__ == "__main__":
    main()
