"""What is said of numbers."""

from __future__ import annotations

import pytest

from memtrack.report.memorization_metrics import PrivacyMetrics
from memtrack.report.metrics import SuspectsMetrics


@pytest.mark.parametrize(("recovered", "doubtful"), [(0.64, True), (0.85, False), (None, False)])
def test_numbers_that_a_weak_network_made_up_are_doubted(recovered: float | None, doubtful: bool) -> None:
    numbers = SuspectsMetrics(
        auroc_of_flips=0.79, wrong=9, wrong_low=8, wrong_high=10, called=9, recovered=recovered
    )
    first, *more = numbers.in_words()
    assert first.startswith("about 9 labels are wrong [8, 10]")
    assert (numbers.doubt is not None) == doubtful
    assert [text[:38] for text in more] == ["the right label is suggested for 64% o"] * doubtful


@pytest.mark.parametrize(("auroc", "side"), [(0.62, 6.0), (0.42, 1.5), (None, 0.9)])
def test_an_attack_by_few_networks_is_doubted(auroc: float | None, side: float) -> None:
    found = 0.01 if auroc is not None else None
    said = PrivacyMetrics(
        attack_auroc=auroc, attack_true_positives=found, side=side, spearman=None, auroc=None
    ).in_words()
    assert ("raise memorization.models" in said) == (side < 6)
    assert (f"AUROC {auroc}" in said) == (auroc is not None)
