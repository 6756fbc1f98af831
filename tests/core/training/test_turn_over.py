"""Turn-over dropout, against the two subnetworks of a linear model, each solved for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import cross_entropy

from memtrack.core.training.turn_over import OwnMasks, halves


def test_halves_are_halves_of_each_sample_and_unit() -> None:
    rows = torch.arange(400)
    found = {key: halves(*key, rows, 300).numpy() for key in ((0, 0), (0, 1), (1, 0))}
    for kept in found.values():
        assert kept.mean() == pytest.approx(0.5, abs=0.01)
        for axis in (0, 1):  # as many as a fair coin gives
            assert kept.mean(axis=axis).std() == pytest.approx(0.5 / kept.shape[axis] ** 0.5, rel=0.2)
        away = (kept - 0.5) * 2
        same = away @ away.T / 300  # two samples share no more than chance
        assert np.abs(same - np.eye(400)).max() < 6 / 300**0.5
    one, *others = found.values()
    assert all(abs((one == other).mean() - 0.5) < 0.01 for other in others)
    assert (halves(0, 0, torch.tensor([7, 3]), 300).numpy() == one[[7, 3]]).all()
    assert (halves(0, 0, torch.tensor([7]), 20).numpy() == one[[7], :20]).all()


def test_a_linear_model_is_that_of_masked_inputs() -> None:
    """Trained to its optimum it is logistic regression on each sample's half of the features, and the loss of
    the other half is that of the same weights on the other features."""
    draw = np.random.default_rng(0)
    inputs, labels = draw.normal(size=(60, 8)), draw.integers(0, 2, 60)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    model = nn.Linear(8, 2, dtype=torch.float64)
    masks = OwnMasks(model, seed=3)
    steps = torch.optim.LBFGS(
        model.parameters(), max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )
    rows = np.arange(60)

    def loss() -> torch.Tensor:
        steps.zero_grad()
        with masks.of(rows):
            found = cross_entropy(model(x), y, reduction="sum") + model.weight.square().sum()
        found.backward()
        return found

    steps.step(loss)
    kept = halves(3, 0, torch.from_numpy(rows), 8).numpy()
    # two rows of weights with penalty 1 are their difference with penalty 1/2 of half of it: C = 1
    solved = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(2 * inputs * kept, labels)
    for flipped, seen in ((False, kept), (True, ~kept)):
        masks.flipped = flipped
        with masks.of(rows), torch.no_grad():
            own = cross_entropy(model(x), y, reduction="none").numpy()
        probability = solved.predict_proba(2 * inputs * seen)[rows, labels]
        np.testing.assert_allclose(own, -np.log(probability), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(model(x), x @ model.weight.T + model.bias), "outside of a batch nothing is masked"


def test_hidden_units_and_channels_are_masked_and_the_input_is_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(20, 3))
    masks, images = OwnMasks(model, 0), torch.randn(6, 1, 6, 6)
    rows = np.array([4, 9, 2, 2, 0, 7])
    with torch.no_grad():
        hidden = model[:2](images)
        first = halves(0, 0, torch.from_numpy(rows), 4)
        maps = nn.functional.conv2d(2 * hidden * first[:, :, None, None], model[2].weight, model[2].bias)
        last = halves(0, 1, torch.from_numpy(rows), 20)
        expected = nn.functional.linear(2 * maps.flatten(1) * last, model[4].weight, model[4].bias)
        [(found, _)] = [(model(part), own) for part, own in masks.following([(images, images)], [rows])]
    torch.testing.assert_close(found, expected)
