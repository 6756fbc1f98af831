"""Stage `utility`: the test accuracy of networks trained without the memorized samples, against without as
many random ones, in results/utility/NAME.

Networks that an interrupted run, or one that asked for fewer, has trained are used.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from memtrack.core.ensemble import BLOCK, Flags, block, remaining, without_memorized
from memtrack.io import pictures
from memtrack.io.dataset import PreparedData
from memtrack.io.ensembles import Place, chunks, open_run, training_device
from memtrack.io.fingerprint import ensemble_fingerprint
from memtrack.io.params import mistake
from memtrack.io.paths import MEMORIZATION_RESULTS, UTILITY_RESULTS
from memtrack.io.problems import entry_point
from memtrack.io.progress import Progress
from memtrack.io.results import UtilityMetrics
from memtrack.io.score_table import read_influenced, read_memorization
from memtrack.io.tracking import Run
from memtrack.io.validation import write_record
from memtrack.io.variants import VariantData
from memtrack.stages import load_with_variant

LEAST = 0.1
"""Where less than this share of the samples would be left, or all, a threshold is left out."""
TESTS = ("all", "influenced", "others")
"""The test samples: all; those in a sure pair of influence (`sure_pairs` in test.csv); the others."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    folder, options = UTILITY_RESULTS / name, params.utility
    folder.mkdir(parents=True, exist_ok=True)
    data = PreparedData()
    variant = VariantData(name, data)
    device = training_device(params)
    memorization = read_memorization(MEMORIZATION_RESULTS / name, variant)
    influenced = read_influenced(MEMORIZATION_RESULTS / name, data.split("test")["id"].tolist(), name)
    thresholds = []
    for threshold in sorted(options.thresholds):
        left = without_memorized(memorization, threshold).mean()
        if LEAST <= left < 1:
            thresholds.append(threshold)
        else:
            print(
                f"{name}: {1 - left:.0%} of the samples are of memorization above {threshold}: it is left out"
            )
    if not thresholds:
        text = (
            f"none or nearly all samples of {name} are of memorization above each of them: give others, or "
            f"take {name} out of utility.variants"
        )
        raise mistake("utility", "thresholds", message=text)
    members = partial(remaining, memorization, params.memorization.seed)
    digest = hashlib.sha256(memorization.tobytes()).hexdigest()
    fingerprint = ensemble_fingerprint(params, data, variant, device, memorization=digest)

    def networks_of(number: int) -> range:
        return range(number * BLOCK, number * BLOCK + options.models)

    whole = networks_of(0)
    without = {
        (threshold, random): networks_of(block(threshold, random=random))
        for threshold in thresholds
        for random in (False, True)
    }
    wanted = [whole, *without.values()]

    def groups(size: int) -> Iterator[range]:
        for numbers in wanted:
            yield from chunks(numbers, size)

    samples = len(variant.ids), len(influenced)
    with Place.claimed(f"{name}-utility", fingerprint, samples, folder) as place:
        told = {"utility": options.model_dump(mode="json", exclude={"variants"})}
        run = open_run(params, variant, "utility", fingerprint, told)
        numbers = list(chain.from_iterable(wanted))
        missing = sum(number not in place.networks for number in numbers)
        training = place.train(params, data, variant, members, groups, device)
        with run.ended_with_error():
            with closing(training) as trained:
                for _ in Progress(
                    trained, f"networks without memorized samples of {name}", missing, size=len
                ):
                    pass
            place.publish(folder, numbers)
            right = {key: place.networks.flags("test", chosen) for key, chosen in without.items()}
            table = _table(right, memorization, influenced, params.evaluate.confidence)
            table.to_csv(folder / "utility.csv", index=False)
            accuracy = float(place.networks.flags("test", whole).mean())
            metrics = _metrics(table, options.models, accuracy, influenced)
            write_record(metrics, folder / "metrics.json")
            pictures.utility(table, accuracy, folder / "pictures" / "utility.png")
            _log(run, folder, metrics)
    print(f"{name}: {metrics.said()}")
    print(table[table["tests"] == "all"].round(4).to_string(index=False))


def _metrics(table: pd.DataFrame, models: int, accuracy: float, influenced: Flags) -> UtilityMetrics:
    everywhere = table[table["tests"] == "all"].to_dict("records")
    largest = max(everywhere, key=lambda row: float(row["difference"]))
    low, high = (float(largest[end]) for end in ("low", "high"))
    return UtilityMetrics(
        models=models,
        test_accuracy=accuracy,
        threshold=float(largest["threshold"]),
        left_out=int(largest["left_out"]),
        largest_difference=float(largest["difference"]),
        low=None if np.isnan(low) else low,
        high=None if np.isnan(high) else high,
        influenced_tests=int(influenced.sum()),
    )


def _table(
    right: Mapping[tuple[float, bool], Flags],
    memorization: NDArray[np.float64],
    influenced: Flags,
    confidence: float,
) -> pd.DataFrame:
    """utility.csv: a row for each threshold and kind of test samples: mean accuracy of the networks without
    the samples above the threshold (and its standard deviation), and without as many random ones; the
    difference, random minus memorized, with its interval (Welch's t over networks).

    Args:
        right: which test samples each network without the samples above a threshold (False), or without as
            many random ones (True), gets right, (K, T).
    """
    parts = dict(zip(TESTS, (np.ones_like(influenced), influenced, ~influenced), strict=True))
    rows = []
    for threshold in dict.fromkeys(threshold for threshold, _ in right):
        for tests, chosen in parts.items():
            if not chosen.any():
                continue
            one, other = (right[threshold, random][:, chosen].mean(axis=1) for random in (True, False))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # all networks may agree
                low, high = ttest_ind(one, other, equal_var=False).confidence_interval(confidence)
            rows.append(
                {
                    "threshold": threshold,
                    "left_out": int((~without_memorized(memorization, threshold)).sum()),
                    "tests": tests,
                    "without_memorized": other.mean(),
                    "without_memorized_sd": other.std(ddof=1),
                    "without_random": one.mean(),
                    "without_random_sd": one.std(ddof=1),
                    "difference": one.mean() - other.mean(),
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def _log(run: Run, folder: Path, metrics: UtilityMetrics) -> None:
    files = {
        "utility/utility.csv": folder / "utility.csv",
        "pictures/utility.png": folder / "pictures/utility.png",
    }
    numbers = {key: float(value) for key, value in metrics.model_dump(exclude_none=True).items()}
    run.log(files=files, metrics=numbers)
    run.end()


if __name__ == "__main__":
    main()
