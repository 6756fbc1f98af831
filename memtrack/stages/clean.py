"""Stage `clean`: mend the labels of a variant, in results/clean/NAME.

The decisions are a person's, or follow from the probabilities of stage suspects. A variant of kind from_file
trains on the result.
"""

from __future__ import annotations

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import CLEAN_RESULTS, SUSPECTS_RESULTS, input_path
from memtrack.data.cleaning import (
    check_cleanable,
    cleaned_labels,
    cleaning_counts,
    decided_by_probability,
    write_cleaned,
)
from memtrack.data.decisions import Decision, read_decisions
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.metrics import CleaningMetrics
from memtrack.report.sample_tables import read_suggestions
from memtrack.runs.causes import suspects_causes
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    options, folder = params.clean.of(name), CLEAN_RESULTS / name
    variant = VariantData(name, PreparedData.current(params.data))
    check_cleanable(variant, options)
    decisions = _decisions(params, variant)
    labels = cleaned_labels(variant, decisions, options)
    write_cleaned(folder, variant, decisions, labels)
    metrics = CleaningMetrics(**cleaning_counts(variant, decisions, labels))
    write_json(metrics, folder / "metrics.json")
    print(f"{name}: {metrics.in_words()}")


def _decisions(params: Params, variant: VariantData) -> dict[str, Decision]:
    options = params.clean.of(variant.name)
    if not options.by_probability(variant.name):
        return read_decisions(input_path(options.decisions), variant)
    folder = SUSPECTS_RESULTS / variant.name
    probability, suggested = read_suggestions(folder, variant, suspects_causes(params, variant))
    return decided_by_probability(variant, probability, suggested, options)


if __name__ == "__main__":
    main()
