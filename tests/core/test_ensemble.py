"""Networks trained together are the networks trained alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core import models
from memtrack.core.ensemble import Ensemble, subset
from memtrack.core.memorization import Counts

SHAPE = (1, 6, 6)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": partial(models.mlp, SHAPE, 3, width=8, depth=2, dropout=0.0),
    "cnn": partial(models.cnn, SHAPE, 3, width=4, depth=2, dropout=0.0),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.001},
    "adamw": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.01},
}


@pytest.fixture(scope="module")
def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, *SHAPE, generator=generator), torch.arange(50) % 3


def ensemble(name: str, samples: tuple[Tensor, Tensor], optimizer: str = "sgd", **more: Any) -> Ensemble:
    options = {"share": 0.7, "epochs": 3, "batch_size": 8, "seed": 4, **more}
    return Ensemble(
        NETWORKS[name], *samples, optimizer=OPTIMIZERS[optimizer], schedule={"kind": "cosine"}, **options
    )


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_does_not_hang_on_its_group(
    name: str, optimizer: str, samples: tuple[Tensor, Tensor]
) -> None:
    made = ensemble(name, samples, optimizer)
    groups = ([0], [1], [2]), ([0, 1, 2],), ([2, 0], [1])
    logits: list[dict[int, Tensor]] = []
    for group in groups:
        found = {}
        for numbers in group:
            trained = made.train(numbers)
            trained.train(False)
            found |= dict(zip(numbers, trained(samples[0]).detach(), strict=True))
        logits.append(found)
    for other in logits[1:]:
        for number in range(3):
            torch.testing.assert_close(other[number], logits[0][number], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(logits[0][0], logits[0][1])


def test_one_network_is_a_plain_training_loop(samples: tuple[Tensor, Tensor]) -> None:
    """Torch's own SGD and schedule, on the members in the order that the ensemble draws."""
    inputs, labels = samples
    made = ensemble("mlp", samples)
    rows = np.flatnonzero(subset(50, share=0.7, seed=4, model=5))
    torch.manual_seed(int(np.random.SeedSequence([4, 5, 1]).generate_state(1)[0]))
    network = NETWORKS["mlp"]()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.001
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3 * 5)
    generator = np.random.Generator(np.random.PCG64([4, 5, 2]))
    for _ in range(3):
        order = torch.from_numpy(generator.permutation(rows))
        for batch in order.tensor_split(5):
            optimizer.zero_grad()
            cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    trained = made.train([5, 6])
    torch.testing.assert_close(trained(inputs)[0], network(inputs), rtol=1e-4, atol=1e-5)


def test_subsets_are_of_the_share_and_of_the_number() -> None:
    drawn = [subset(1000, share=0.7, seed=1, model=model) for model in range(200)]
    assert {int(members.sum()) for members in drawn} == {700}
    assert len({members.tobytes() for members in drawn}) == 200
    often = np.mean(drawn, axis=0)
    assert np.abs(often - 0.7).max() < 5 * np.sqrt(0.7 * 0.3 / 200)


def test_random_labels_are_memorized(samples: tuple[Tensor, Tensor]) -> None:
    """A network that fits everything knows a random label where it saw it, and guesses it elsewhere."""
    inputs, _ = samples
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 3, 50))
    made = Ensemble(
        partial(models.mlp, SHAPE, 3, width=64, depth=1, dropout=0.0), inputs, labels, share=0.7,
        optimizer={"kind": "sgd", "lr": 0.1, "momentum": 0.9}, schedule={"kind": "constant"}, epochs=60,
        batch_size=16, seed=0,
    )  # fmt: skip
    numbers = range(60)
    counts = Counts(50)
    counts.add(
        np.stack([made.members(number) for number in numbers]), made.train(numbers).correct(inputs, labels)
    )
    assert (counts.right[0] == counts.trained[0]).all()
    assert counts.memorization.mean() == pytest.approx(1 - 1 / 3, abs=0.12)
