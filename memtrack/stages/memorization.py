"""Stage `memorization`: estimate Feldman & Zhang's memorization and influence from many networks trained on
random subsets, in results/memorization/NAME.

Networks from an interrupted run, or from a run that asked for fewer, are reused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import MEMORIZATION_RESULTS
from memtrack.core.memorization.correct_predictions import CorrectPredictions
from memtrack.core.memorization.estimates import MEMORIZED, Counts, influential_pairs
from memtrack.core.memorization.membership import Attack
from memtrack.core.memorization.subsets import Flags, subset
from memtrack.data.manifest import write_manifest
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.ensembles.fingerprint import ensemble_fingerprint
from memtrack.ensembles.network_folder import NetworkFolder
from memtrack.ensembles.training import chunks, open_run, train_missing, training_device
from memtrack.report.memorization import MemorizationReport
from memtrack.runs.code import code_hash
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress
from memtrack.tracking.run import Run

CHECK = 50
"""The standard error is checked after each block of this many networks, in the order of their numbers. So the
same networks count, in whatever order they are trained."""
READ_BACK = ("networks.npz", "memorization.csv", "test.csv")
"""The files that other stages read."""
PAIRS = 1000
"""At most this many influential pairs are listed."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    options, folder = params.memorization, MEMORIZATION_RESULTS / name
    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant = VariantData(name, data)
    device = training_device(params)
    samples = len(variant.ids), len(data.split("test"))
    if not 0 < round(options.share * samples[0]) < samples[0]:
        text = f"{options.share} of {samples[0]} samples leaves nothing to train on, or leaves none out"
        raise options.mistake("share", message=text)
    if options.recipe is None and any(params.train.augment.model_dump().values()):
        print(f"{name}: these networks are trained without train.augment, the scored network with it")
    members = partial(subset, samples[0], share=options.share, seed=options.seed)
    fingerprint = ensemble_fingerprint(params, data, variant, device, share=options.share)

    def groups(size: int) -> Iterator[range]:
        return chunks(range(options.models), size if options.standard_error is None else min(size, CHECK))

    log_odds_key = code_hash("memtrack.ensembles.confident_trainer")[:12] if options.privacy else None
    with NetworkFolder.claimed(name, fingerprint, samples, folder, log_odds_key) as work:
        unlogged = {"variants", "published", "recipe", *(() if options.privacy else ("privacy",))}
        logged = options.model_dump(mode="json", exclude=unlogged)
        run = open_run(params, variant, "memorization", fingerprint, {"memorization": logged})
        training = train_missing(work, params, data, variant, members, groups, device)
        with run.ended_with_error():
            with closing(training) as trained:
                counts = _estimate(params, work.networks, members, trained, run, samples[0], name)
            work.publish(folder, range(counts.networks))
            report = _report(data, variant, work.networks, counts, members, options.privacy)
            report.write(folder)
            write_json(report.metrics, folder / "metrics.json")
            write_manifest(folder, fingerprint.causes, {name: folder / name for name in READ_BACK})
            _log(run, folder, variant.ids, report)
    print(f"{name}: {report.metrics.in_words()}")


def _estimate(
    params: Params,
    networks: CorrectPredictions,
    members: Callable[[int], Flags],
    trained: Iterator[tuple[int, ...]],
    run: Run,
    samples: int,
    name: str,
) -> Counts:
    """Count the networks in the order of their numbers, until all requested networks are counted or the
    standard error is small enough."""
    options, counts = params.memorization, Counts(samples)
    missing = sum(number not in networks for number in range(options.models))
    bar = Progress(trained, f"networks on {name}", total=missing, size=len)

    def count_whole_blocks() -> bool:
        """Whether that is enough."""
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

    if not count_whole_blocks():
        for _ in bar:
            if count_whole_blocks():
                break
    return counts


def _report(
    data: PreparedData,
    variant: VariantData,
    networks: CorrectPredictions,
    counts: Counts,
    members: Callable[[int], Flags],
    privacy: bool,
) -> MemorizationReport:
    """The report on the estimate, with its influential pairs and, if they are wanted, the privacy scores."""
    numbers = range(counts.networks)
    right = networks.flags("test", numbers)
    memorized = np.flatnonzero(counts.memorization > MEMORIZED)
    trained_on = np.stack([members(number) for number in numbers])
    pairs = influential_pairs(memorized, trained_on[:, memorized], right, PAIRS)
    attack = Attack.of(trained_on, networks.log_odds(numbers)) if privacy else None
    return MemorizationReport(data, variant, counts, pairs, right, attack)


def _log(run: Run, folder: Path, ids: Sequence[str], report: MemorizationReport) -> None:
    estimates = ("memorization", "standard_error", "out_of_sample")
    arrays = {f"memorization/{name}": getattr(report.counts, name).astype(np.float32) for name in estimates}
    if report.attack is not None:
        arrays["memorization/lira"] = report.attack.lira.astype(np.float32)
    arrays["memorization/ids"] = np.array(ids)
    tables = ("memorization.csv", "influence.csv", "test.csv", "metrics.json")
    files = {f"memorization/{name}": folder / name for name in tables}
    files |= {f"pictures/{path.name}": path for path in sorted((folder / "pictures").glob("*.png"))}
    measured = report.metrics.model_dump(exclude_none=True)
    attacked = {f"privacy/{key}": value for key, value in measured.pop("privacy", {}).items()}
    numbers = {key: float(value) for key, value in {**measured, **attacked}.items()}
    run.results(files, numbers, arrays, step=report.metrics.models)


if __name__ == "__main__":
    main()
