"""Stage `agreement`: measure how well each score agrees with memorization, in results/agreement/NAME, or
with memorization that others have published, in results/agreement/NAME-published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from memtrack.config.errors import InputError, Problem
from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import (
    AGREEMENT_RESULTS,
    EVALUATE_RESULTS,
    MEMORIZATION_RESULTS,
    TRAIN_RESULTS,
)
from memtrack.core.evaluation.agreement import MEASURES
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.ensembles.published import published_memorization
from memtrack.report.agreement import AgreementReport
from memtrack.report.memorization_metrics import AgreementMetrics
from memtrack.report.sample_tables import LIRA, read_lira, read_memorization, read_scores, score_names
from memtrack.runs.causes import evaluation_causes, memorization_causes
from memtrack.stages import load_variant, variant_parser
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.reference import RunReference, read_reference
from memtrack.tracking.run import Run, check_store


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    parser = variant_parser(__doc__)
    parser.add_argument(
        "--published", action="store_true", help="compare with the file in memorization.published"
    )
    options = parser.parse_args()
    params, name = load_variant(options.variant), options.variant
    check_store(params.tracking)
    reference = read_reference(TRAIN_RESULTS / name, f"run `dvc repro train@{name}`")
    data = PreparedData.current(params.data)
    variant = VariantData(name, data)
    table = read_scores(EVALUATE_RESULTS / name, variant, evaluation_causes(params, variant))
    scores = {key: table[key].to_numpy(dtype=np.float64) for key in score_names(table)}
    if options.published:
        memorization = published_memorization(params.memorization, data, variant)
        source, folder = params.memorization.published[name], AGREEMENT_RESULTS / f"{name}-published"
    else:
        memorization = read_memorization(
            MEMORIZATION_RESULTS / name, variant, memorization_causes(params, variant)
        )
        source, folder = str(MEMORIZATION_RESULTS / name), AGREEMENT_RESULTS / name
        if params.memorization.privacy:
            privacy = read_lira(MEMORIZATION_RESULTS / name, variant, memorization_causes(params, variant))
            if privacy is None:
                print(f"{name}: without {LIRA}: memorization.csv does not have it for every sample")
            else:
                scores[LIRA] = privacy
    if (~np.isnan(memorization)).sum() < 2:
        text = f"has the memorization of fewer than two samples of {name}"
        raise InputError([Problem(Path(source), message=text)])
    folder.mkdir(parents=True, exist_ok=True)
    report = AgreementReport(variant, scores, memorization, params.evaluate.resampling)
    report.write(folder)
    write_json(report.metrics, folder / "metrics.json")
    what = "agreement_with_published" if options.published else "agreement"
    _log(params, reference, folder, what, report.metrics)
    for text in report.metrics.score_lines():
        print(f"{folder.name}: {text}")


def _log(params: Params, reference: RunReference, folder: Path, what: str, metrics: AgreementMetrics) -> None:
    """Add the results to the MLflow run that training opened; `what` names the kind of memorization."""
    files = {
        f"{what}/{path.relative_to(folder)}": path
        for path in sorted([*folder.glob("*.csv"), *folder.glob("pictures/*.png")])
    }
    numbers = {
        f"{what}_{measure}/{key}": value
        for key, found in metrics.scores.items()
        for measure in MEASURES
        if (value := found[measure]) is not None
    }
    Run.of_finished_training(params, reference, what).results(files, numbers)


if __name__ == "__main__":
    main()
