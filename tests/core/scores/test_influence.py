"""Self-influence, against inverted Hessians, trainings without the sample, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import SHAPE, made
from cases import CLASSES
from recorded_networks import InMemoryNetworks
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.scores import Need, arnoldi, compute
from memtrack.core.scores.arnoldi import self_influence, top_eigenpairs

Batches = list[tuple[Tensor, Tensor]]


def fitted(inputs: Tensor, labels: Tensor, ridge: float) -> nn.Linear:
    """Logistic regression at its optimum: mean loss + ridge / 2 ||w||^2."""
    network = nn.Linear(inputs.shape[1], CLASSES, dtype=torch.float64)
    steps = torch.optim.LBFGS(
        network.parameters(), max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        steps.zero_grad()
        penalty = sum(own.square().sum() for own in network.parameters())
        found = cross_entropy(network(inputs), labels) + ridge / 2 * penalty
        found.backward()
        return found

    steps.step(loss)
    return network


def vectors(count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    inputs = torch.randn(count, 4, dtype=torch.float64)
    return inputs, (inputs[:, :CLASSES] + torch.randn(count, CLASSES)).argmax(1)


def exact(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The Hessian of the mean loss (n, n), and the gradient of each sample's loss (N, n)."""
    names = [name for name, _ in network.named_parameters()]
    sizes = [own.numel() for own in network.parameters()]

    def losses(flat: Tensor) -> Tensor:
        parts = zip(names, flat.split(sizes), network.parameters(), strict=True)
        weights = {name: part.view_as(own) for name, part, own in parts}
        outputs = torch.func.functional_call(network, weights, (inputs,))
        return cross_entropy(outputs, labels, reduction="none")

    flat = torch.cat([own.detach().flatten() for own in network.parameters()])
    hessian = torch.autograd.functional.hessian(lambda flat: losses(flat).mean(), flat)
    return hessian.numpy(), torch.autograd.functional.jacobian(losses, flat).numpy()


@pytest.mark.parametrize("cuts", [[60], [25, 25, 10]])
def test_is_exact_where_all_eigenvalues_are_used(cuts: list[int]) -> None:
    samples = vectors(60)
    network = fitted(*samples, ridge=0.01)
    hessian, gradients = exact(network, *samples)
    expected = ((gradients @ np.linalg.pinv(hessian, rcond=1e-10)) * gradients).sum(1)
    batches = list(zip(*(part.split(cuts) for part in samples), strict=True))
    assert self_influence(network, batches, batches).tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_tells_how_much_the_loss_rises_without_the_sample() -> None:
    (inputs, labels), ridge = vectors(300), 0.0001
    network, rises = fitted(inputs, labels, ridge), []
    for row in range(0, 300, 20):
        kept = torch.arange(300) != row
        without = fitted(inputs[kept], labels[kept], ridge)
        with torch.no_grad():
            before, after = (cross_entropy(own(inputs[row]), labels[row]) for own in (network, without))
        rises.append(float(after - before))
    found = self_influence(network, [(inputs, labels)], [(inputs, labels)])[::20] / 300
    assert found.tolist() == pytest.approx(rises, rel=0.15)


def test_the_largest_positive_eigenvalues() -> None:
    draw = np.random.default_rng(0)
    directions, _ = np.linalg.qr(draw.normal(size=(300, 300)))
    values = np.r_[-30.0, 100.0 * 0.8 ** np.arange(20), np.full(279, 1e-3)]
    matrix = torch.from_numpy(directions * values @ directions.T)
    found, vectors = top_eigenpairs(lambda vector: matrix @ vector, [torch.zeros(300, dtype=torch.float64)])
    assert found.tolist() == pytest.approx(sorted(values[values > 0])[-arnoldi.RANK :], rel=1e-6)
    np.testing.assert_allclose(matrix @ vectors.T, (vectors.T * found).numpy(), atol=1e-6)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(arnoldi.RANK), atol=1e-9)


def test_without_positive_eigenvalues() -> None:
    with pytest.raises(ValueError, match="no positive eigenvalue"):
        top_eigenpairs(lambda vector: -vector, [torch.zeros(5)])


@pytest.mark.parametrize("name", ["ViT", "transformer", "EfficientNet", "norms and dropouts"])
def test_products_with_the_hessian_are_differences_of_gradients(name: str) -> None:
    torch.manual_seed(0)
    network, inputs, labels = (
        made(name).eval(),
        torch.randn(5, *SHAPE, dtype=torch.float64),
        torch.arange(5) % CLASSES,
    )
    weights = list(network.parameters())
    vector = torch.randn(sum(own.numel() for own in weights), dtype=torch.float64)

    def gradient(step: float) -> Tensor:
        flat = torch.cat([own.detach().flatten() for own in weights]) + step * vector
        kept = [own.detach().clone() for own in weights]
        torch.nn.utils.vector_to_parameters(flat, weights)
        found = torch.autograd.grad(cross_entropy(network(inputs), labels), weights, materialize_grads=True)
        with torch.no_grad():
            for own, before in zip(weights, kept, strict=True):
                own.copy_(before)
        return torch.cat([own.flatten() for own in found])

    batches = [(inputs[:3], labels[:3]), (inputs[3:], labels[3:])]
    product = arnoldi._product(network, weights, batches)(vector)
    expected = (gradient(1e-6) - gradient(-1e-6)) / 2e-6
    np.testing.assert_allclose(product, expected, atol=1e-5 * float(expected.abs().max()))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, CLASSES)
    )


def images(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(9)), torch.arange(
        count
    ) % CLASSES


def test_the_score_is_of_the_last_network_and_of_any_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arnoldi, "SAMPLES", 17)
    monkeypatch.setattr(arnoldi, "STEPS", 8)
    networks, state = [network(0), network(1)], torch.random.get_rng_state()
    found = [
        compute("arnoldi", {Need.NETWORKS: InMemoryNetworks(networks, *images(40), size)}) for size in (7, 40)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    rows = np.linspace(0, 39, 17).round().astype(int)
    some = tuple(part[rows] for part in images(40))
    assert found[1] == pytest.approx(self_influence(networks[1], [some], [images(40)]), rel=1e-3)
    assert all(module.training for own in networks for module in own.modules())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_frozen_layers_do_not_count() -> None:
    own = network(0)
    own[0].requires_grad_(False)
    own[1].requires_grad_(False)
    before = own[0].weight.clone()
    inputs, labels = images(30)
    with torch.no_grad():
        features = own.eval()[:4](inputs)
    found = self_influence(own, [(inputs, labels)], [(inputs, labels)])
    expected = self_influence(own[4], [(features, labels)], [(features, labels)])
    assert found == pytest.approx(expected, rel=1e-3)
    assert torch.equal(own[0].weight, before)


@pytest.mark.parametrize("size", [7, 40])
def test_tracin_is_the_sum_of_squared_norms_times_learning_rates(size: int) -> None:
    networks, rates, (inputs, labels) = [network(seed) for seed in range(3)], [0.1, 0.05, 0.002], images(40)
    expected = np.zeros(40)
    for own, rate in zip(networks, rates, strict=True):
        own.eval()
        for row in range(40):
            own.zero_grad()
            cross_entropy(own(inputs[row : row + 1]), labels[row : row + 1]).backward()
            expected[row] += rate * sum(float(part.grad.square().sum()) for part in own.parameters())
    evidence = {Need.NETWORKS: InMemoryNetworks(networks, inputs, labels, size, rates)}
    assert compute("tracin", evidence).tolist() == pytest.approx(expected.tolist(), rel=1e-4)
