"""Stage `evaluate`: score every sample and judge the scores, in results/evaluate/NAME.

With --seed it evaluates the training of stage `repeat` with that seed, in results/repeat/NAME-SEED.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import (
    AVERAGED_RESULTS,
    EVALUATE_RESULTS,
    HALVES_RESULTS,
    SUSPECTS_RESULTS,
    TRAIN_RESULTS,
    repeat_results,
    repeat_training,
)
from memtrack.config.sections.evaluate import ASKED_BY
from memtrack.core.scores import Need, compute, needs
from memtrack.core.scores.halves import Halves
from memtrack.core.scores.neighbours import voters, voting_epochs
from memtrack.core.scores.several_trainings import AVERAGED
from memtrack.core.scores.suspicion import SUSPICION, kinds, suggested_labels
from memtrack.data.manifest import write_manifest
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report import held_out
from memtrack.report.evaluation import Evaluation
from memtrack.report.sample_tables import (
    TABLE,
    TEST_TABLE,
    read_averaged,
    read_halves,
    read_suspects,
    read_turn_over,
)
from memtrack.runs.causes import averaged_causes, evaluation_causes, halves_causes, suspects_causes
from memtrack.runs.held_out import score_tests
from memtrack.runs.trained import TrainedRun
from memtrack.stages import load_variant, variant_parser
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.run import Run, check_store

LOGGED = {"auroc", "auroc_low", "auroc_high", "average_precision", "precision_first_5", "recall_first_5"}
"""The measures of each score that are logged as MLflow metrics; the artifact metrics.json has all."""


@entry_point
def main() -> None:
    """Run the stage for the variant, and the seed, named on the command line."""
    parser = variant_parser(__doc__)
    parser.add_argument("--seed", type=int, help="one of repeat.seeds")
    options = parser.parse_args()
    params, name = load_variant(options.variant), options.variant
    if options.seed is None:
        trained, folder = TRAIN_RESULTS / name, EVALUATE_RESULTS / name
        evaluate(params, name, trained, folder, f"train@{name}", others=True)
    elif options.seed not in params.repeat.seeds:
        raise params.repeat.mistake("seeds", message=f"{options.seed} is not among them: add it")
    else:
        trained, folder = repeat_training(name, options.seed), repeat_results(name, options.seed)
        evaluate(params.with_seed(options.seed), name, trained, folder, f"repeat@{name}-{options.seed}")


def evaluate(
    params: Params,
    name: str,
    trained: Path,
    folder: Path,
    stage: str,
    *,
    others: bool = False,
) -> None:
    """Score the samples of the variant `name` by its training in `trained`; results go to `folder`. With
    `others` it also uses what the stages suspects, averaged and halves left for this training.
    """
    check_store(params.tracking)
    folder.mkdir(parents=True, exist_ok=True)
    data = PreparedData.current(params.data)
    variant = VariantData(name, data)
    run = TrainedRun(params, data, variant, trained, stage, tests=True)
    known = {}
    if others and name in params.suspects.variants:
        known = read_suspects(SUSPECTS_RESULTS / name, variant, suspects_causes(params, variant))
    evidence = {**run.evidence([SUSPICION]), **(_made_by_stages(params, variant) if others else {})}
    asked = params.evaluate.asked
    names = [key for key in asked if {*needs(key)} <= evidence.keys()]
    if params.evaluate.scores and (left_out := [key for key in asked if key not in names]):
        keys = dict.fromkeys(ASKED_BY[need] for key in left_out for need in needs(key) if need in ASKED_BY)
        why = f"params.yaml does not ask for them in {' or '.join(keys)}"
        print(f"{name}: without {', '.join(left_out)}: {why if others else 'not with another seed'}")
    scores = {key: known[key] if key in known else compute(key, evidence) for key in names}
    epochs, neighbours, classes = (
        evidence[Need.EPOCHS],
        evidence[Need.NEIGHBOURS],
        len(variant.summary.classes),
    )
    suggested, _ = suggested_labels(epochs, neighbours, classes=classes)
    voting, count = voting_epochs(epochs, neighbours)[-1], voters(variant.given)
    tests = score_tests(params, data, variant, run, tuple(scores), count, voting)
    found = Evaluation(
        variant,
        run.trajectory,
        scores,
        suggested,
        run.metrics.test_accuracy,
        params.evaluate.confidence,
        kinds(epochs, neighbours, classes=classes),
        {key: values for key, values in known.items() if key not in scores},
        test=held_out.metrics(tests),
    )
    found.write(folder)
    nearest = neighbours.nearest(count, voting)
    files = held_out.write(tests, nearest, variant.summary.classes, folder)
    write_json(found.metrics, folder / "metrics.json")
    write_manifest(folder, evaluation_causes(params, variant), {TABLE: folder / TABLE, **files})
    _log(params, run, folder, found)
    for text in [*found.metrics.score_lines(), *found.metrics.in_words()]:
        print(f"{name}: {text}")


def _made_by_stages(params: Params, variant: VariantData) -> dict[Need, Any]:
    """What the stages averaged and halves left for a variant."""
    found: dict[Need, Any] = {}
    if variant.name in params.averaged.variants:
        causes = averaged_causes(params, variant)
        found[Need.TRAININGS] = read_averaged(AVERAGED_RESULTS / variant.name, AVERAGED, variant, causes)
    if variant.name in params.halves.variants:
        folder = HALVES_RESULTS / variant.name
        numbers = read_halves(folder, variant, halves_causes(params, variant))
        found[Need.HALVES] = Halves(**numbers, labels=variant.given)
        if params.halves.turn_over:
            found[Need.TURN_OVER] = read_turn_over(folder, variant)
    return found


def _log(params: Params, trained: TrainedRun, folder: Path, found: Evaluation) -> None:
    """Add the results to the MLflow run that training opened."""
    drawn = {f"pictures/{path.name}": path for path in sorted((folder / "pictures").glob("*.png"))}
    tables = {
        f"scores/{name}": folder / name
        for name in (TABLE, TEST_TABLE, "differences.csv", "classes.csv", "review.csv")
    }
    numbers = {
        f"{measure}/{key}": value
        for key, judged in found.metrics.scores.items()
        for measure, value in judged.model_dump(include=LOGGED).items()
    }
    if found.metrics.conflicts is not None:
        numbers |= found.metrics.conflicts.model_dump(exclude={"auroc_of_both"})
    options = {f"evaluate.{key}": str(value) for key, value in params.evaluate.model_dump().items()}
    Run.of_finished_training(params, trained.reference, "evaluated").results(
        files={**tables, "metrics.json": folder / "metrics.json", **drawn},
        metrics={"final_test_accuracy": trained.metrics.test_accuracy, **numbers},
        arrays={f"scores/{key}": values.astype(np.float32) for key, values in found.scores.items()},
        tags=options,
    )


if __name__ == "__main__":
    main()
