"""Stage `halves`: train on each half of the samples, and then on the other half, in results/halves/NAME.

It does nothing for a variant that is not in halves.variants. An interrupted training goes on after its last
epoch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        (folder / "probabilities.npy").write_bytes(b"")
        write_json(HalvesMetrics(), folder / "metrics.json")
        write_manifest(folder, {}, {})
        print(f"{name}: is not in halves.variants: nothing to do")


def _train(params: Params, name: str, folder: Path) -> None:
    """Train what is not trained yet, and write the results."""
    # these take seconds to import, and most variants do not need them
    import numpy as np

    from memtrack.core.scores.halves import Halves
    from memtrack.data.prepared import PreparedData
    from memtrack.data.variants import VariantData
    from memtrack.report import halves as report
    from memtrack.runs.checkpoints import States
    from memtrack.runs.fingerprint import halves_fingerprint
    from memtrack.runs.halves import SplitTraining, halves_of
    from memtrack.runs.networks import check_memory, chosen_device

    data = PreparedData.current(params.data)
    data.keep_decoded(params.compute.image_cache_bytes)
    variant, device = VariantData(name, data), chosen_device(params.train)
    check_memory(params.train, data.info, len(variant.ids), device, robust=params.train)
    fingerprint = halves_fingerprint(params, data, variant, device)
    if fingerprint.matches(folder) and report.is_whole(folder, variant, fingerprint.causes):
        print(f"{name}: was trained before with these settings: nothing to do")
        return
    work = project_root() / WORK / f"{name}-{fingerprint.key}"
    work.mkdir(parents=True, exist_ok=True)
    halves = halves_of(variant, params.halves.seed)
    loss, forgotten = np.zeros((2, len(variant.ids)))
    probabilities = np.zeros((len(variant.ids), len(data.info.classes)))
    with FileLock(work / "lock"):
        for number, (own, other) in enumerate((halves, halves[::-1]), start=1):
            training = SplitTraining(params, data, variant, own, other, device)
            states = States(work / str(number), f"half {number} of {fingerprint.key}")
            epochs = Progress(range(1, training.epochs + 1), f"train on half {number} of {name}")
            _run(training, states, iter(epochs), device)
            loss[other], forgotten[own] = training.holdout_loss, training.forgotten
            probabilities[other] = training.probabilities()
        found = Halves(loss, probabilities, variant.given, forgotten)
        metrics = report.write(variant, halves[0], found, params.train.epochs, folder)
        write_json(metrics, folder / "metrics.json")
        write_manifest(folder, fingerprint.causes, {file: folder / file for file in report.FILES})
    shutil.rmtree(work)
    print(f"{name}: {metrics.in_words()}")


def _run(training: SplitTraining, states: States, epochs: Iterator[int], device: Any) -> None:
    """Run the epochs that are not done, and keep the state after each."""
    done = 0
    for epoch in states.epochs():
        state = states.read(epoch, device)
        if state is not None:
            training.load_state(epoch, state)
            done = epoch
            break
        states.discard(epoch)
    for epoch in epochs:
        if epoch > done:
            training.run_epoch(epoch)
            states.write(epoch, training.state())


if __name__ == "__main__":
    main()
