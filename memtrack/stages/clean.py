"""Stage `clean`: mend the labels of a variant, in results/clean/NAME.

The decisions are a person's, or follow from the probabilities of stage suspects. A variant of kind from_file
trains on the result. A person's decisions may be about test samples, too: they change the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from memtrack.config.json_files import write_json
from memtrack.config.params import Params
from memtrack.config.paths import CLEAN_RESULTS, EVALUATE_RESULTS, SUSPECTS_RESULTS, input_path
from memtrack.core.evaluation.mended import mended_accuracy
from memtrack.data.cleaning import (
    check_cleanable,
    cleaned_labels,
    cleaning_counts,
    decided_by_probability,
    mended_tests,
    weights_after,
    write_cleaned,
)
from memtrack.data.decisions import Decision, read_decisions
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.metrics import CleaningMetrics, MendedMetrics
from memtrack.report.sample_tables import TEST_TABLE, read_doubt, read_suggestions, read_table_of
from memtrack.runs.causes import evaluation_causes, suspects_causes
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    options, folder = params.clean.of(name), CLEAN_RESULTS / name
    data = PreparedData.current(params.data)
    variant, held = VariantData(name, data), data.split("test")
    check_cleanable(variant, options)
    decisions = _decisions(params, variant, dict(zip(held["id"], held["label"], strict=True)))
    labels = cleaned_labels(variant, decisions, options)
    tests = dict(zip(held["id"], data.codes(held["label"]).tolist(), strict=True))
    mended = mended_tests(tests, variant.summary.classes, decisions, options)
    weights = weights_after(variant, decisions, options)
    metrics = CleaningMetrics(
        **cleaning_counts(variant, decisions, labels, weights),
        test=_judged(params, variant, tests, mended, decisions),
    )
    write_cleaned(
        folder,
        variant,
        decisions,
        labels,
        tests,
        mended,
        weights if options.weighs or variant.weights is not None else None,
    )
    write_json(metrics, folder / "metrics.json")
    print(f"{name}: {metrics.in_words()}")
    for number, label in enumerate(variant.summary.classes):
        if (variant.given == number).any() and not (labels == number).any():
            print(f"{name}: no sample keeps the label {label!r}: the network cannot learn this class")


def _decisions(params: Params, variant: VariantData, tests: Mapping[str, str]) -> dict[str, Decision]:
    options = params.clean.of(variant.name)
    if not options.by_probability(variant.name):
        return read_decisions(input_path(options.decisions), variant, tests)
    folder = SUSPECTS_RESULTS / variant.name
    probability, suggested = read_suggestions(folder, variant, suspects_causes(params, variant))
    if (doubt := read_doubt(folder, variant)) is not None:
        if options.doubtful == "refuse":
            text = (
                f"the probabilities of stage suspects are doubtful: {doubt}. Train a better network, decide "
                "by hand (the page exports decisions.csv), or write `use` to take them all the same"
            )
            raise options.mistake("doubtful", message=text)
        print(f"{variant.name}: the probabilities are doubtful, and used all the same: {doubt}")
    return decided_by_probability(variant, probability, suggested, options)


def _judged(
    params: Params,
    variant: VariantData,
    tests: Mapping[str, int],
    mended: NDArray[np.int64],
    decisions: Mapping[str, Decision],
) -> MendedMetrics | None:
    """What mending the test labels does to the accuracy; None if nobody has looked at test samples."""
    decided = sum(sample in tests for sample in decisions)
    if not decided:
        return None
    causes, ids = evaluation_causes(params, variant), list(tests)
    table = read_table_of(EVALUATE_RESULTS / variant.name, TEST_TABLE, variant.name, ids, causes)
    number = {name: place for place, name in enumerate(variant.summary.classes)}
    predicted = np.array([number[label] for label in table["predicted_label"]], dtype=np.int64)
    given = np.array(list(tests.values()), dtype=np.int64)
    found = mended_accuracy(predicted, given, mended, confidence=params.evaluate.confidence)
    removed = mended < 0
    return MendedMetrics(
        decided=decided,
        relabelled=int(((mended != given) & ~removed).sum()),
        removed=int(removed.sum()),
        accuracy_given=found.given,
        accuracy_mended=found.mended,
        difference=found.difference.value,
        difference_low=found.difference.low,
        difference_high=found.difference.high,
    )


if __name__ == "__main__":
    main()
