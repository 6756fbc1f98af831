"""Stage `duplicates`: samples that are the same, or nearly, and those whose labels differ, in
results/duplicates/NAME.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from memtrack.core.features import features
from memtrack.io import pictures
from memtrack.io.checkpoints import Checkpoints
from memtrack.io.dataset import CHUNK, PreparedData
from memtrack.io.duplicates import Pair, digests, exact_pairs, groups, near_pairs, thumbnails
from memtrack.io.loading import variant_batches
from memtrack.io.networks import chosen_device, trained_network
from memtrack.io.params import Params
from memtrack.io.paths import DUPLICATES_RESULTS, EVALUATE_RESULTS, TRAIN_RESULTS
from memtrack.io.problems import entry_point
from memtrack.io.progress import Progress
from memtrack.io.results import DuplicatesMetrics
from memtrack.io.score_table import read_scores, score_names
from memtrack.io.store import RunRecord
from memtrack.io.tracking import Run
from memtrack.io.validation import read_record, write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_with_variant

BATCH = 512
SHEET = 50
"""So many images are on the contact sheet."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    trained, folder = TRAIN_RESULTS / name, DUPLICATES_RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    data = PreparedData()
    variant = VariantData(name, data)
    device = chosen_device(params)
    scores = read_scores(EVALUATE_RESULTS / name / "scores.csv", variant)
    pairs = _pairs(params, data, variant, Checkpoints(trained / "checkpoints"), device)
    table = _table(variant, pairs, scores)
    table.to_csv(folder / "duplicates.csv", index=False)
    in_conflict = table[table["conflicting"]]
    metrics = DuplicatesMetrics(
        exact_pairs=sum(pair.exact for pair in pairs),
        near_pairs=sum(not pair.exact for pair in pairs),
        groups=table["group"].nunique(),
        conflicting_groups=in_conflict["group"].nunique(),
    )
    write_record(metrics, folder / "metrics.json")
    shown = in_conflict.head(SHEET)
    images = variant.read([variant.row[sample] for sample in shown["id"]])
    captions = [
        f"group {row.group}\n{str(row.id)[-24:]}\ngiven {row.given_label}" for row in shown.itertuples()
    ]
    marked = (shown["corrupted"] == "1").tolist()
    pictures.contact_sheet(images, captions, marked, folder / "pictures" / "conflicting.png")
    _log(params, read_record(RunRecord, trained / "run.json"), folder, metrics)
    print(f"{name}: {metrics.said()}")


def _pairs(
    params: Params, data: PreparedData, variant: VariantData, checkpoints: Checkpoints, device: torch.device
) -> list[Pair]:
    """By their pixels, and by the features of the network at the end of training."""
    count, options = len(variant.ids), params.duplicates
    hashes: list[bytes] = []
    small = []
    for start in Progress(range(0, count, CHUNK), "read the images"):
        images = variant.read(range(start, min(start + CHUNK, count)))
        hashes += digests(images)
        small.append(thumbnails(images))
    exact = exact_pairs(hashes)
    distinct = np.setdiff1d(np.arange(count), [pair.second for pair in exact])
    seen = {
        "pixels": np.concatenate(small),
        "features": _features(params, data, variant, checkpoints, device),
    }
    near: dict[tuple[int, int], Pair] = {}
    for by, vectors in seen.items():
        for pair in near_pairs(vectors, distinct, by=by, ratio=options.ratio, neighbours=options.neighbours):
            near.setdefault((pair.first, pair.second), pair)
    return [*exact, *near.values()]


def _features(
    params: Params, data: PreparedData, variant: VariantData, checkpoints: Checkpoints, device: torch.device
) -> NDArray[np.float32]:
    """Of the last epoch's network, (N, numbers)."""
    remedy, last = f"run `dvc repro train@{variant.name}`", params.train.epochs
    model = trained_network(params.train.model, data.record, checkpoints, last, remedy=remedy)
    workers = params.train.workers
    batches = variant_batches(data, variant, batch_size=BATCH, device=device, workers=workers)
    found = features(model.to(device), batches)
    return np.concatenate(list(Progress(found, "features of the network", total=len(batches))))


def _table(variant: VariantData, pairs: list[Pair], scores: pd.DataFrame) -> pd.DataFrame:
    """duplicates.csv: a row for each sample that has a duplicate, group by group.

    Groups under different labels come first, those of the most suspect sample (by the first score) before
    others. distance is that to the nearest duplicate in units of the usual distance of neighbours, 0 for the
    same pixels; by says whether it was found by pixels or features.
    """
    group = groups(pairs, len(variant.ids))
    nearest: dict[int, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.distance):
        nearest[pair.first] = nearest[pair.second] = pair
    rows = sorted(nearest)
    table = pd.DataFrame(
        {
            "group": group[rows],
            "id": [variant.ids[row] for row in rows],
            "distance": [round(nearest[row].distance, 4) for row in rows],
            "by": [nearest[row].by for row in rows],
        }
    ).merge(scores, on="id", validate="one_to_one")
    first_score = score_names(scores)[0]
    by_group = table.groupby("group")
    table.insert(1, "conflicting", by_group["given_label"].transform("nunique") > 1)
    order = pd.DataFrame({"conflict": ~table["conflicting"], "most": -by_group[first_score].transform("max"),
                          "group": table["group"], "own": -table[first_score]})  # fmt: skip
    table = table.loc[order.sort_values(list(order.columns)).index]
    numbers = {old: new for new, old in enumerate(dict.fromkeys(table["group"]), start=1)}
    return table.assign(group=table["group"].map(numbers)).reset_index(drop=True)


def _log(params: Params, record: RunRecord, folder: Path, metrics: DuplicatesMetrics) -> None:
    """Add to the run that training opened."""
    run = Run.of_training(params, record, "duplicates")
    files = {
        f"duplicates/{path.name}": path
        for path in (folder / "duplicates.csv", *folder.glob("pictures/*.png"))
    }
    run.log(files=files, metrics={key: float(value) for key, value in metrics.model_dump().items()})
    run.end()


if __name__ == "__main__":
    main()
