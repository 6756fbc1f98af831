"""What is said of numbers."""

from __future__ import annotations

import pytest

from memtrack.report.metrics import SuspectsMetrics


@pytest.mark.parametrize(("recovered", "doubtful"), [(0.64, True), (0.85, False), (None, False)])
def test_numbers_that_a_weak_network_made_up_are_doubted(recovered: float | None, doubtful: bool) -> None:
    numbers = SuspectsMetrics(
        auroc_of_flips=0.79, wrong=9, wrong_low=8, wrong_high=10, called=9, recovered=recovered
    )
    first, *more = numbers.in_words()
    assert first.startswith("about 9 labels are wrong [8, 10]")
    assert [text[:38] for text in more] == ["the right label is suggested for 64% o"] * doubtful
