"""The examples in the docstrings of the core."""

from __future__ import annotations

import doctest

from memtrack.core.recording import curvature


def test_examples() -> None:
    outcome = doctest.testmod(curvature)
    assert outcome.attempted > 0
    assert outcome.failed == 0
