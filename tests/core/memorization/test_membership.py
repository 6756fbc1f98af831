"""The likelihood-ratio attack, against SciPy's normal distribution in a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from memtrack.core.memorization import membership
from memtrack.core.memorization.membership import Attack, likelihood_ratios, lira, log_odds, true_positives
from memtrack.report.memorization_metrics import TOO_FEW


def drawn(networks: int, samples: int, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Members, and log odds that rise by training on the sample, more for later samples."""
    draw = np.random.default_rng(0)
    members = draw.random((networks, samples)) < share
    spread = np.linspace(0.5, 2, samples)
    rise = np.linspace(0, 4, samples)
    phi = draw.normal(3, 5, samples) + spread * draw.normal(size=members.shape) + rise * members
    return members, phi.astype(np.float32)


def by_scipy(members: np.ndarray, phi: np.ndarray, shared: bool) -> np.ndarray:
    phi, networks = phi.astype(np.float64), len(members)
    found = np.full(members.shape, np.nan)
    spread = []
    for side in (members, ~members):
        away = [
            phi[side[:, n], n] - phi[side[:, n], n].mean() for n in range(phi.shape[1]) if side[:, n].any()
        ]
        spread.append(np.sqrt(np.square(np.concatenate(away)).sum() / (side.sum(axis=0) - 1).clip(0).sum()))
    for n in range(phi.shape[1]):
        if min(members[:, n].sum(), (~members[:, n]).sum()) < 2:
            continue
        for k in range(networks):
            others = np.arange(networks) != k
            densities = []
            for side, one in zip((members, ~members), spread, strict=True):
                values = phi[others & side[:, n], n]
                densities.append(norm.logpdf(phi[k, n], values.mean(), one if shared else values.std()))
            found[k, n] = densities[0] - densities[1]
    return found


@pytest.mark.parametrize(("networks", "shared"), [(160, False), (24, True)])
def test_ratios_are_those_of_normal_distributions(
    networks: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "BLOCK", 3)
    members, phi = drawn(networks, 7)
    assert (members.sum(axis=0).min() < 64) == shared
    expected = by_scipy(members, phi, shared)
    found = likelihood_ratios(members, phi)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    scores = [expected[members[:, n], n].mean() for n in range(7)]
    assert lira(members, found).tolist() == pytest.approx(scores, abs=1e-4)
    assert np.argsort(scores)[-1] == 6
    attack = Attack.of(members, phi)
    some = slice(membership.TARGETS)
    assert attack.auroc == pytest.approx(roc_auc_score(members[some].ravel(), expected[some].ravel()))
    assert attack.lira.tolist() == pytest.approx(scores, abs=1e-4)
    trained = members.sum() / 7
    assert attack.side == pytest.approx(min(trained, networks - trained))


def test_a_sample_without_networks_on_a_side_has_no_score() -> None:
    members, phi = drawn(20, 4)
    members[:, 0], members[:, 1] = True, False
    members[0, 1] = True
    found = likelihood_ratios(members, phi)
    np.testing.assert_allclose(found, by_scipy(members, phi, True), rtol=1e-4, atol=1e-4)
    assert np.isnan(lira(members, found)).tolist() == [True, True, False, False]
    assert np.isnan(true_positives(members[:, :2], found[:, :2], 0.001))
    none = np.zeros((3, 2), dtype=bool)
    assert np.isnan(Attack.of(none, phi[:3, :2]).lira).all()


def test_found_members_at_few_false_alarms() -> None:
    """A thousand others, of which one has a larger ratio than 3."""
    others = np.linspace(-5, 3, 1000, dtype=np.float32)
    others[7] = 9
    ratios = np.concatenate([others, np.array([2.9, 3.1, 5.0, 10.0], dtype=np.float32)])[None]
    members = np.arange(1004)[None] >= 1000
    assert true_positives(members, ratios, 0.001) == 0.75


def test_log_odds_are_those_of_the_probability() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 20, 5, dtype=torch.float64), torch.arange(20) % 5
    probability = logits.softmax(2)[:, torch.arange(20), labels].numpy()
    np.testing.assert_allclose(log_odds(logits, labels).numpy(), logit(probability), rtol=1e-9)
    sure = torch.tensor([[[200.0, 0.0, 1.0]]])  # where p is 1 in float32
    expected = -np.logaddexp(-200.0, -199.0)
    assert log_odds(sure, torch.tensor([0])).item() == pytest.approx(expected)
    assert np.float32(expit(expected)) == 1


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_enough_networks_give_no_attack_on_noise(share: float) -> None:
    draw = np.random.default_rng(0)
    networks = int(np.ceil(TOO_FEW / (1 - share) - 1e-9))

    def area(count: int) -> float:
        members = np.stack([draw.permutation(300) < share * 300 for _ in range(count)])
        phi = draw.normal(size=(count, 300)) + 2 * draw.normal(size=300)
        return Attack.of(members, phi.astype(np.float32)).auroc

    assert np.mean([area(networks) for _ in range(20)]) == pytest.approx(0.5, abs=0.01)
    assert np.mean([area(-(-networks // 3)) for _ in range(20)]) < 0.485
