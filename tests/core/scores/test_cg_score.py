"""CG-score, against y' H^-1 y of data sets from which each sample is really removed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recorded_networks import InMemoryNetworks
from scipy.integrate import quad

from memtrack.core.scores import Need, cg_score, compute
from memtrack.core.scores.cg_score import blocks, complexity_gaps, gram, unit_vectors


def samples(count: int, size: int = 30) -> InMemoryNetworks:
    torch.manual_seed(0)
    return InMemoryNetworks([], torch.randn(count, 2, 3, 3), torch.randint(0, 4, (count,)), size)


def complexity(vectors: np.ndarray, signs: np.ndarray) -> float:
    return float(signs @ np.linalg.solve(gram(vectors), signs))


def test_is_what_the_complexity_loses_without_the_sample() -> None:
    vectors = unit_vectors(samples(30).batches(np.arange(30)))
    signs = np.where(np.arange(30) < 12, 1.0, -1.0)
    kept = [np.delete(np.arange(30), row) for row in range(30)]
    lost = [complexity(vectors, signs) - complexity(vectors[rows], signs[rows]) for rows in kept]
    assert complexity_gaps(vectors, signs).tolist() == pytest.approx(lost, rel=1e-6)


def test_h_is_the_mean_product_of_gradients_of_a_wide_network() -> None:
    """H_ij = E[x_i.x_j 1(w.x_i >= 0, w.x_j >= 0)] over directions w, in the plane by integration."""
    first, second = np.array([1.0, 0.0]), np.array([np.cos(1.2), np.sin(1.2)])

    def both(angle: float) -> float:
        direction = np.array([np.cos(angle), np.sin(angle)])
        return float(direction @ first >= 0 and direction @ second >= 0)

    expected = first @ second * quad(both, 0, 2 * np.pi, limit=200, points=[1.2 - np.pi / 2 + 2 * np.pi])[0]
    found = gram(np.stack([first, second]))
    assert found[0, 1] == pytest.approx(expected / (2 * np.pi), rel=1e-3)
    assert found[0, 0] == pytest.approx(0.5, abs=1e-5)


def test_the_score_is_the_mean_over_draws() -> None:
    networks = samples(80)
    vectors, expected = unit_vectors(networks.batches(np.arange(80))), np.zeros(80)
    for draw in range(cg_score.DRAWS):
        for own, others in blocks(networks.labels, networks.ids, draw):
            signs = np.r_[np.ones(len(own)), -np.ones(len(others))]
            rows = np.r_[own, others]
            for place, row in enumerate(own):
                without = np.delete(rows, place), np.delete(signs, place)
                gap = complexity(vectors[rows], signs) - complexity(vectors[without[0]], without[1])
                expected[row] += gap / cg_score.DRAWS
    assert compute("cg_score", {Need.NETWORKS: networks}).tolist() == pytest.approx(
        expected.tolist(), rel=1e-6
    )


@pytest.mark.parametrize("block", [5, 1000])
def test_every_sample_is_scored_once_against_as_many_of_the_other_classes(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cg_score, "BLOCK", block)
    networks = samples(90)
    found = list(blocks(networks.labels, networks.ids, 3))
    assert sorted(np.concatenate([own for own, _ in found]).tolist()) == list(range(90))
    for own, others in found:
        assert len(own) == len(others) <= block
        assert len(set(networks.labels[own])) == 1
        assert not set(networks.labels[own]) & set(networks.labels[others])


def test_depends_neither_on_the_order_of_the_samples_nor_on_the_batches() -> None:
    expected = compute("cg_score", {Need.NETWORKS: samples(80)})
    assert compute("cg_score", {Need.NETWORKS: samples(80, size=7)}) == pytest.approx(expected)
    order, turned = np.random.default_rng(0).permutation(80), samples(80)
    turned._inputs, turned.labels = turned._inputs[order], turned.labels[order]
    turned.ids = [turned.ids[row] for row in order]
    assert compute("cg_score", {Need.NETWORKS: turned}) == pytest.approx(expected[order])


def test_equal_images_with_other_labels_are_the_most_suspect() -> None:
    networks = samples(60)
    networks._inputs[7] = networks._inputs[3]
    networks.labels[[3, 7]] = [0, 1]
    assert set(np.argsort(compute("cg_score", {Need.NETWORKS: networks}))[-2:]) == {3, 7}


def test_an_input_of_zeros_is_like_no_other() -> None:
    networks = samples(30)
    networks._inputs[4] = 0
    assert compute("cg_score", {Need.NETWORKS: networks})[4] == pytest.approx(2, rel=1e-4)


def test_large_images_are_averaged_down() -> None:
    torch.manual_seed(0)
    small = torch.randn(4, 3, 32, 32)
    large = small.repeat_interleave(3, 2).repeat_interleave(3, 3)
    expected = unit_vectors([(small, small)])
    np.testing.assert_allclose(unit_vectors([(large, large)]), expected, atol=1e-6)
    np.testing.assert_allclose((expected**2).sum(1), 1, rtol=1e-5)
