"""Stage `memorization`: Feldman & Zhang's memorization and influence, from many networks trained on random
subsets, in results/memorization/NAME.

Networks that an interrupted run, or one that asked for fewer, has trained are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memtrack.core.ensemble import Flags, subset
from memtrack.core.memorization import MEMORIZED, Counts, InfluentialPairs, influential_pairs
from memtrack.io import pictures
from memtrack.io.correctness import Correctness
from memtrack.io.dataset import PreparedData
from memtrack.io.ensembles import Place, chunks, open_run, training_device
from memtrack.io.fingerprint import ensemble_fingerprint
from memtrack.io.params import Params, mistake
from memtrack.io.paths import MEMORIZATION_RESULTS
from memtrack.io.problems import entry_point
from memtrack.io.progress import Progress
from memtrack.io.results import MemorizationMetrics
from memtrack.io.tracking import Run
from memtrack.io.validation import write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_with_variant

CHECK = 50
"""Whether the standard error is small enough is asked after so many networks, in the order of their numbers:
however they are trained, the same ones count."""
PAIRS = 1000
"""So many pairs of influence are listed."""
SHEET = 50
"""So many images are on a contact sheet."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    options, folder = params.memorization, MEMORIZATION_RESULTS / name
    data = PreparedData()
    variant = VariantData(name, data)
    device = training_device(params)
    samples = len(variant.ids), len(data.split("test"))
    if not 0 < round(options.share * samples[0]) < samples[0]:
        text = f"{options.share} of {samples[0]} samples leaves nothing to train on, or nothing out"
        raise mistake("memorization", "share", message=text)
    if options.recipe is None and (params.train.augment.crop or params.train.augment.flip):
        print(f"{name}: these networks are trained without train.augment, the one that is scored with it")
    members = partial(subset, samples[0], share=options.share, seed=options.seed)
    fingerprint = ensemble_fingerprint(params, data, variant, device, share=options.share)

    def groups(size: int) -> Iterator[range]:
        return chunks(range(options.models), size if options.standard_error is None else min(size, CHECK))

    with Place.claimed(name, fingerprint, samples, folder) as place:
        told = options.model_dump(mode="json", exclude={"variants", "published", "recipe"})
        run = open_run(params, variant, "memorization", fingerprint, {"memorization": told})
        networks, counts = place.networks, Counts(samples[0])
        training = place.train(params, data, variant, members, groups, device)
        with run.ended_with_error():
            with closing(training) as trained:
                _estimate(params, networks, members, trained, run, counts, f"networks on {name}")
            place.publish(folder, range(counts.networks))
            metrics = _results(folder, data, variant, networks, counts, members)
            _log(run, folder, variant.ids, counts, metrics)
    print(f"{name}: {metrics.said()}")


def _results(
    folder: Path,
    data: PreparedData,
    variant: VariantData,
    networks: Correctness,
    counts: Counts,
    members: Callable[[int], Flags],
) -> MemorizationMetrics:
    """The tables and pictures of the stage."""
    table = _table(variant, counts)
    table.to_csv(folder / "memorization.csv", index=False)
    numbers = range(counts.networks)
    right = networks.flags("test", numbers)
    memorized = np.flatnonzero(counts.memorization > MEMORIZED)
    trained_on = np.stack([members(number)[memorized] for number in numbers])
    found = influential_pairs(memorized, trained_on, right, PAIRS)
    pairs = _pairs_table(data, variant, counts.memorization, found)
    pairs.to_csv(folder / "influence.csv", index=False)
    _tests_table(data, right, found).to_csv(folder / "test.csv", index=False)
    accuracy, errors = right.mean(axis=1), counts.standard_error
    metrics = MemorizationMetrics(
        models=counts.networks,
        median_standard_error=float(np.median(errors)),
        median_standard_error_memorized=float(np.median(errors[memorized])) if len(memorized) else None,
        mean_memorization=float(np.nanmean(counts.memorization)),
        memorized=len(memorized),
        influential_pairs=int(found.count.sum()),
        sure_pairs=int(found.sure.sum()),
        influenced_tests=int((found.sure > 0).sum()),
        test_accuracy=float(accuracy.mean()),
        test_accuracy_sd=float(accuracy.std(ddof=1)),
    )
    write_record(metrics, folder / "metrics.json")
    _draw(folder / "pictures", data, variant, table, pairs)
    return metrics


def _estimate(
    params: Params,
    networks: Correctness,
    members: Callable[[int], Flags],
    trained: Iterator[tuple[int, ...]],
    run: Run,
    counts: Counts,
    what: str,
) -> None:
    """Count the networks in the order of their numbers until there are as many as are asked for, or the
    standard error is small enough."""
    options = params.memorization
    missing = sum(number not in networks for number in range(options.models))
    bar = Progress(trained, what, total=missing, size=len)

    def enough() -> bool:
        while counts.networks < options.models:
            numbers = range(counts.networks, min(counts.networks + CHECK, options.models))
            if not all(number in networks for number in numbers):
                return False
            networks.count(counts, numbers, members)
            error = float(np.median(counts.standard_error))
            bar.note(standard_error=error)
            if not run.logged(counts.networks):
                run.log(metrics={"median_standard_error": error}, step=counts.networks)
            if options.standard_error is not None and error <= options.standard_error:
                break
        return True

    if not enough():
        for _ in bar:
            if enough():
                break


def _table(variant: VariantData, counts: Counts) -> pd.DataFrame:
    """memorization.csv: a row per training sample, the most memorized first; trained and left_out say how
    many networks were trained with and without it."""
    names = np.asarray(variant.summary.classes, dtype=object)
    known = variant.flags_known
    table = pd.DataFrame(
        {
            "id": variant.ids,
            "given_label": names[variant.given],
            "corrupted": variant.corrupted.astype(int) if known else "",
            "memorization": counts.memorization,
            "standard_error": counts.standard_error,
            "out_of_sample": counts.out_of_sample,
            "trained": counts.trained[0],
            "left_out": counts.trained[1],
        }
    )
    return table.sort_values("memorization", ascending=False, kind="stable")


def _pairs_table(
    data: PreparedData, variant: VariantData, memorization: NDArray[np.float64], found: InfluentialPairs
) -> pd.DataFrame:
    """influence.csv: the pairs of largest influence."""
    held, names = data.split("test"), np.asarray(variant.summary.classes, dtype=object)
    return pd.DataFrame(
        {
            "train_id": np.asarray(variant.ids, dtype=object)[found.train],
            "test_id": held["id"].to_numpy()[found.test],
            "given_label": names[variant.given[found.train]],
            "test_label": held["label"].to_numpy()[found.test],
            "influence": found.influence,
            "standard_error": found.standard_error,
            "memorization": memorization[found.train],
        }
    )


def _tests_table(data: PreparedData, right: Flags, found: InfluentialPairs) -> pd.DataFrame:
    """test.csv, a row per test sample: the share of networks that get it right, and in how many influential
    pairs it is: in all, and with an influence beyond the noise."""
    held = data.split("test")
    return pd.DataFrame(
        {
            "id": held["id"],
            "label": held["label"],
            "right": right.mean(axis=0),
            "pairs": found.count,
            "sure_pairs": found.sure,
        }
    )


def _draw(
    folder: Path, data: PreparedData, variant: VariantData, table: pd.DataFrame, pairs: pd.DataFrame
) -> None:
    known = variant.flags_known
    corrupted = (table["corrupted"] == 1).to_numpy()
    values = table["memorization"].to_numpy()
    pictures.memorization(values, corrupted if known else None, MEMORIZED, folder / "memorization.png")
    top = table.head(SHEET)
    captions = [
        f"{str(row.id)[-24:]}\ngiven {row.given_label}\nmem {row.memorization:.2f} ± {row.standard_error:.2f}"
        for row in top.itertuples()
    ]
    shown = variant.read([variant.row[sample] for sample in top["id"]])
    pictures.contact_sheet(shown, captions, corrupted[:SHEET].tolist(), folder / "most_memorized.png")
    first = pairs.head(SHEET // 2)
    where = data.split("test").set_index("id")["image"]
    images = np.empty((2 * len(first), *data.record.shape), dtype=np.uint8)
    images[::2] = variant.read([variant.row[sample] for sample in first["train_id"]])
    images[1::2] = data.images(where[first["test_id"]].tolist())
    captions = [
        text
        for row in first.itertuples()
        for text in (
            f"{str(row.train_id)[-24:]}\ngiven {row.given_label}\nmem {row.memorization:.2f}",
            f"test: {str(row.test_id)[-18:]}\n{row.test_label}\n"
            f"infl {row.influence:.2f} ± {row.standard_error:.2f}",
        )
    ]
    marked = np.zeros(len(images), dtype=bool)
    marked[::2] = variant.corrupted[[variant.row[sample] for sample in first["train_id"]]]
    pictures.contact_sheet(images, captions, marked.tolist(), folder / "influence.png")


def _log(run: Run, folder: Path, ids: Sequence[str], counts: Counts, metrics: MemorizationMetrics) -> None:
    for name in ("memorization", "standard_error", "out_of_sample"):
        run.array(f"memorization/{name}", getattr(counts, name).astype(np.float32))
    run.array("memorization/ids", np.array(ids))
    tables = ("memorization.csv", "influence.csv", "test.csv", "metrics.json")
    files = {f"memorization/{name}": folder / name for name in tables}
    files |= {f"pictures/{path.name}": path for path in sorted((folder / "pictures").glob("*.png"))}
    numbers = {key: float(value) for key, value in metrics.model_dump(exclude_none=True).items()}
    run.log(files=files, metrics=numbers, step=metrics.models)
    run.end()


if __name__ == "__main__":
    main()
