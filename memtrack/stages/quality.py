"""Stage `quality`: find what else is wrong with the data, in results/quality/NAME: dark, blurry and odd
images, outliers, small classes, and training images that are in the test split too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import QUALITY_RESULTS, TRAIN_RESULTS
from memtrack.core.images.pixels import Pixels
from memtrack.core.labels.duplicates import digests, thumbnails
from memtrack.core.labels.leaks import leaks
from memtrack.core.labels.outliers import outliers
from memtrack.core.scores import Need
from memtrack.core.scores.neighbours import voting_epochs
from memtrack.core.scores.suspicion import SUSPICION
from memtrack.data.all_images import AllImages
from memtrack.data.image_quality import image_issues
from memtrack.data.neighbours import nearest_neighbours
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.metrics import QualityMetrics
from memtrack.report.quality import draw_issues, issue_table, quality_metrics, small_classes
from memtrack.report.sample_tables import write_csv
from memtrack.runs.trained import TrainedRun
from memtrack.runs.trained_networks import directions, mean_distances
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.run import Run, check_store

NEAREST = 10
"""An outlier is far from so many neighbours, as in cleanlab."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    check_store(params.tracking)
    folder = QUALITY_RESULTS / name
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    run = TrainedRun(params, data, variant, TRAIN_RESULTS / name, f"train@{name}")
    metrics = _judge(params, AllImages(data, variant), run, folder)
    files = {f"quality/{path.name}": path for path in (folder / "issues.csv", *folder.glob("pictures/*.png"))}
    numbers = {"quality/leaks": metrics.leaks, "quality/conflicting_leaks": metrics.conflicting_leaks}
    numbers |= {f"quality/train/{kind}": number for kind, number in metrics.train.items()}
    numbers |= {f"quality/test/{kind}": number for kind, number in metrics.test.items()}
    sent = {key: float(value) for key, value in numbers.items()}
    Run.of_finished_training(params, run.reference, "quality").results(files, sent)
    print(f"{name}: {metrics.in_words()}")


def _judge(params: Params, images: AllImages, run: TrainedRun, folder: Path) -> QualityMetrics:
    """Look for all kinds of issues, and write the results."""
    hashes: list[bytes] = []
    small = []

    def parts() -> Iterator[Pixels]:
        for part in images.parts("look at the images"):
            hashes.extend(digests(part))
            small.append(thumbnails(part))
            yield part

    seen = image_issues(parts(), images.files())
    evidence = run.evidence([SUSPICION])
    networks = evidence[Need.NETWORKS]
    # later the network has memorized wrong labels
    epoch = voting_epochs(run.trajectory, evidence[Need.NEIGHBOURS])[-1]
    features = np.concatenate([networks.features(epoch), networks.test_features(epoch)])
    far = mean_distances(directions(features), NEAREST)
    pairs = leaks(
        hashes,
        images.first_test,
        {"pixels": np.concatenate(small), "features": features},
        nearest_neighbours,
        ratio=params.duplicates.ratio,
        neighbours=params.duplicates.neighbours,
    )
    found = {
        **seen.found,
        "outlier": outliers(far, images.first_test),
        "small_class": small_classes(images.labels[: images.first_test]),
    }
    table = issue_table(images, found, pairs)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(table, folder / "issues.csv")
    draw_issues(images, table, folder / "pictures" / "issues.png")
    metrics = quality_metrics(table, seen.usual)
    write_json(metrics, folder / "metrics.json")
    return metrics


if __name__ == "__main__":
    main()
