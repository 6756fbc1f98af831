"""What a search says in the end."""

from __future__ import annotations

import pytest

from memtrack.core.evaluation.detection import Difference
from memtrack.tune.evaluator import Setting
from memtrack.tune.report import Outcome

DEFAULT = Setting(0.03, 1, "plain", "curvature", (2, 4))
OTHER = Setting(0.1, 2, "plain", "curvature", (2, 4))
BETTER = Difference(0.95, 0.9, 0.05, 0.01, 0.09)
UNCERTAIN = Difference(0.92, 0.9, 0.02, -0.01, 0.05)
WORSE = Difference(0.85, 0.9, -0.05, -0.09, -0.01)
SAME = Difference(0.9, 0.9, 0, 0, 0)


@pytest.mark.parametrize(
    ("winner", "chosen", "confirmed", "better", "said"),
    [
        (OTHER, BETTER, BETTER, True, "a change is recommended"),
        (OTHER, UNCERTAIN, BETTER, True, "a change is recommended"),
        (OTHER, BETTER, UNCERTAIN, False, "not better than params.yaml beyond the noise"),
        (OTHER, UNCERTAIN, UNCERTAIN, False, "not better than params.yaml beyond the noise"),
        (OTHER, BETTER, Difference(0.905, 0.9, 0.005, -0.02, 0.03), False, "Overfitted"),
        (OTHER, BETTER, WORSE, False, "Overfitted"),
        (DEFAULT, SAME, SAME, False, "No setting was better"),
    ],
)
def test_a_change_is_recommended_where_other_corruption_confirms_it(
    winner: Setting, chosen: Difference, confirmed: Difference, better: bool, said: str
) -> None:
    found = Outcome(winner, DEFAULT, chosen, confirmed, "elsewhere", 100, 2.0, 1.2)
    assert found.better == better
    assert said in found.verdict
    assert ("no change" in found.verdict.lower()) != better
