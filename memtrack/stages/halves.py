"""Stage `halves`: train on each half of the samples, and then on the other half, in results/halves/NAME.

It does nothing for a variant that is not in halves.variants. An interrupted training goes on after its last
epoch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import HALVES_RESULTS, project_root
from memtrack.data.manifest import write_manifest
from memtrack.report.metrics import HalvesMetrics
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point
from memtrack.terminal.progress import Progress

if TYPE_CHECKING:
    from memtrack.runs.checkpoints import States
    from memtrack.runs.halves import SplitTraining
    from memtrack.runs.turn_over import TurnOverTraining

WORK = Path(".memtrack/halves")
"""The folder of what is unfinished, in the project."""


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    folder = HALVES_RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    if name in params.halves.variants:
        _train(params, name, folder)
    else:
        (folder / "halves.csv").write_text("id\n")
        for file in ("probabilities.npy", "turn_over.npy"):
            np.save(folder / file, np.zeros(0, np.float32))  # DVC warns of empty files
        write_json(HalvesMetrics(), folder / "metrics.json")
        write_manifest(folder, {}, {})
        print(f"{name}: is not in halves.variants: nothing to do")


def _train(params: Params, name: str, folder: Path) -> None:
    """Train what is not trained yet, and write the results."""
    # these take seconds to import, and most variants do not need them
    from memtrack.data.prepared import PreparedData
    from memtrack.data.variants import VariantData
    from memtrack.report import halves as report
    from memtrack.runs.checkpoints import States
    from memtrack.runs.fingerprint import halves_fingerprint
    from memtrack.runs.halves import SplitTraining, halves_of
    from memtrack.runs.networks import check_memory, chosen_device
    from memtrack.runs.turn_over import TurnOverTraining

    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant, device = VariantData(name, data), chosen_device(params.train)
    check_memory(params.train, data.info, len(variant.ids), device, robust=params.train)
    fingerprint = halves_fingerprint(params, data, variant, device)
    whole = fingerprint.matches(folder) and report.is_whole(folder, variant, fingerprint.causes)
    turned = not params.halves.turn_over or (whole and report.has_turn_over(folder, variant))
    if whole and turned:
        print(f"{name}: was trained before with these settings: nothing to do")
        return
    work = project_root() / WORK / f"{name}-{fingerprint.key}"
    work.mkdir(parents=True, exist_ok=True)

    def run(training: SplitTraining | TurnOverTraining, part: str, epochs: int) -> None:
        states = States(work / part.replace(" ", "_"), f"{part} of {fingerprint.key}")
        _run(training, states, Progress(range(1, epochs + 1), f"train on {name}, {part}"), device)

    with FileLock(work / "lock"):
        if not whole:
            halves = halves_of(variant, params.halves.seed)
            loss, forgotten = np.zeros(len(variant.ids)), np.zeros(len(variant.ids), dtype=np.int64)
            probabilities = np.zeros((len(variant.ids), len(data.info.classes)))
            for number, (own, other) in enumerate((halves, halves[::-1]), start=1):
                training = SplitTraining(params, data, variant, own, other, device)
                run(training, f"half {number}", training.epochs)
                loss[other], forgotten[own] = training.holdout_loss, training.forgotten
                probabilities[other] = training.probabilities()
            epochs = params.train.epochs
            metrics = report.write(variant, halves[0], loss, probabilities, forgotten, epochs, folder)
            write_json(metrics, folder / "metrics.json")
            report.write_turn_over(folder, None)
            write_manifest(folder, fingerprint.causes, {file: folder / file for file in report.FILES})
            print(f"{name}: {metrics.in_words()}")
        if not turned:
            masked = TurnOverTraining(params, data, variant, device, params.halves.seed)
            run(masked, "turn-over dropout", params.train.epochs)
            report.write_turn_over(folder, masked.self_influence())
            write_manifest(folder, fingerprint.causes, {file: folder / file for file in report.FILES})
    shutil.rmtree(work)


def _run(
    training: SplitTraining | TurnOverTraining, states: States, epochs: Iterable[int], device: Any
) -> None:
    """Run the epochs that are not done, and keep the state after each."""
    done = 0
    for epoch in states.epochs():
        state = states.read(epoch, device)
        if state is not None:
            training.load_state(state)
            done = epoch
            break
        states.discard(epoch)
    for epoch in epochs:
        if epoch > done:
            training.run_epoch(epoch)
            states.write(epoch, training.state())


if __name__ == "__main__":
    main()
