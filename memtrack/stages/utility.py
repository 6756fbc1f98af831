"""Stage `utility`: compare the test accuracy of networks trained without the memorized samples to that of
networks trained without as many random samples, in results/utility/NAME.

Networks from an interrupted run, or from a run that asked for fewer, are reused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import MEMORIZATION_RESULTS, UTILITY_RESULTS
from memtrack.core.memorization.subsets import UtilityNetwork, utility_members, without_memorized
from memtrack.data.manifest import write_manifest
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.ensembles.fingerprint import ensemble_fingerprint
from memtrack.ensembles.network_folder import NETWORKS, NetworkFolder
from memtrack.ensembles.training import chunks, open_run, train_missing, training_device
from memtrack.report.sample_tables import read_influenced, read_memorization
from memtrack.report.utility import UtilityReport
from memtrack.runs.causes import memorization_causes
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tracking.run import Run

LEAST = 0.1
"""A threshold that leaves less than this share of the samples, or all of them, is skipped."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    folder, options = UTILITY_RESULTS / name, params.utility
    folder.mkdir(parents=True, exist_ok=True)
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    device = training_device(params)
    estimated, made_from = MEMORIZATION_RESULTS / name, memorization_causes(params, variant)
    memorization = read_memorization(estimated, variant, made_from)
    influenced = read_influenced(estimated, data.split("test")["id"].tolist(), variant, made_from)
    thresholds = _usable_thresholds(params, name, memorization)
    members = partial(utility_members, memorization, params.memorization.seed)
    digest = hashlib.sha256(memorization.tobytes()).hexdigest()
    fingerprint = ensemble_fingerprint(params, data, variant, device, memorization=digest)

    def numbers_of(threshold: float | None = None, random: bool = False) -> range:
        first = UtilityNetwork(0, threshold, random).number
        return range(first, first + options.models)

    whole = numbers_of()
    without = {
        (threshold, random): numbers_of(threshold, random)
        for threshold in thresholds
        for random in (False, True)
    }
    wanted = [whole, *without.values()]

    def groups(size: int) -> Iterator[range]:
        for numbers in wanted:
            yield from chunks(numbers, size)

    samples = len(variant.ids), len(influenced)
    with NetworkFolder.claimed(f"{name}-utility", fingerprint, samples, folder) as work:
        logged = {"utility": options.model_dump(mode="json", exclude={"variants"})}
        run = open_run(params, variant, "utility", fingerprint, logged)
        numbers = list(chain.from_iterable(wanted))
        missing = sum(number not in work.networks for number in numbers)
        training = train_missing(work, params, data, variant, members, groups, device)
        with run.ended_with_error():
            with closing(training) as trained:
                what = f"networks without memorized samples of {name}"
                for _ in Progress(trained, what, missing, size=len):
                    pass
            work.publish(folder, numbers)
            right = {key: work.networks.flags("test", chosen) for key, chosen in without.items()}
            report = UtilityReport(
                right,
                work.networks.flags("test", whole),
                memorization,
                influenced,
                params.evaluate.confidence,
            )
            report.write(folder)
            write_json(report.metrics, folder / "metrics.json")
            write_manifest(folder, fingerprint.causes, {NETWORKS: folder / NETWORKS})
            _log(run, folder, report)
    print(f"{name}: {report.metrics.in_words()}")
    print(report.table[report.table["tests"] == "all"].round(4).to_string(index=False))


def _usable_thresholds(params: Params, name: str, memorization: NDArray[np.float64]) -> list[float]:
    """The thresholds that leave out some samples, but not nearly all."""
    found = []
    for threshold in sorted(params.utility.thresholds):
        left = without_memorized(memorization, threshold).mean()
        if LEAST <= left < 1:
            found.append(threshold)
        else:
            text = f"{1 - left:.0%} of the samples have memorization above it"
            print(f"{name}: the threshold {threshold} is skipped: {text}")
    if not found:
        text = (
            f"none or nearly all samples of {name} have memorization above each threshold: give others, or "
            f"remove {name} from utility.variants"
        )
        raise params.utility.mistake("thresholds", message=text)
    return found


def _log(run: Run, folder: Path, report: UtilityReport) -> None:
    files = {
        "utility/utility.csv": folder / "utility.csv",
        "pictures/utility.png": folder / "pictures/utility.png",
    }
    numbers = {key: float(value) for key, value in report.metrics.model_dump(exclude_none=True).items()}
    run.results(files, numbers)


if __name__ == "__main__":
    main()
