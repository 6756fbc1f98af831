"""The two halves of the samples."""

from __future__ import annotations

import numpy as np
import pytest

from memtrack.core.labels.splits import first_half


@pytest.mark.parametrize("counts", [(10, 20, 30), (7, 5, 3, 1), (1, 1, 1)])
def test_halves_are_random_and_have_the_same_share_of_each_label(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    drawn = [first_half(labels, seed) for seed in range(300)]
    for first in drawn:
        assert abs(int(first.sum()) - int((~first).sum())) <= 1
        for label, count in enumerate(counts):
            assert first[labels == label].sum() in (count // 2, -(-count // 2))
    assert (first_half(labels, 3) == drawn[3]).all()
    assert np.mean(drawn, axis=0) == pytest.approx(0.5, abs=0.13)
