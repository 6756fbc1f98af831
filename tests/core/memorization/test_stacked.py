"""Networks trained together are the networks trained alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memtrack.core.memorization.estimates import Counts
from memtrack.core.memorization.stacked import Recipe, StackedTraining
from memtrack.core.memorization.subsets import Flags, subset
from memtrack.core.training import models
from memtrack.core.training.models.finetuning import Finetuning

SHAPE = (1, 6, 6)
STARTED = Finetuning(
    (0.5,), (0.25,), (0.4,), (0.3,), size=8, layers=2, rate=0.5,
    state={name: values.numpy() + 0.1 for name, values in
           models.cnn(SHAPE, 5, width=4, depth=2, dropout=0.0).state_dict().items()},
)  # fmt: skip
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": partial(models.mlp, SHAPE, 3, width=8, depth=2, dropout=0.0),
    "cnn": partial(models.cnn, SHAPE, 3, width=4, depth=2, dropout=0.0),
    "pretrained": partial(models.build, "cnn", SHAPE, 3, width=4, depth=2, dropout=0.0, finetuning=STARTED),
    "dropout": partial(models.mlp, SHAPE, 3, width=8, depth=2, dropout=0.5),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.001},
    "adamw": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.01},
}


@pytest.fixture(scope="module")
def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, *SHAPE), generator=generator, dtype=torch.uint8)
    return images, torch.arange(50) % 3


def normalized(images: Tensor) -> Tensor:
    return (images.float() / 255 - 0.5) / 0.25


def recipe(name: str, optimizer: str = "sgd", **more: Any) -> Recipe:
    options = {"schedule": {"kind": "cosine"}, "epochs": 3, "batch_size": 8, "seed": 4, **more}
    return Recipe(NETWORKS[name], [0.5], [0.25], OPTIMIZERS[optimizer], **options)


def ensemble(recipe: Recipe, samples: tuple[Tensor, Tensor]) -> StackedTraining:
    return StackedTraining(recipe, *samples, torch.device("cpu"))


def members(*numbers: int) -> Flags:
    return np.stack([subset(50, number, share=0.7, seed=4) for number in numbers])


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("name", ["mlp", "cnn", "pretrained"])
def test_a_network_does_not_hang_on_its_group(
    name: str, optimizer: str, samples: tuple[Tensor, Tensor]
) -> None:
    made, inputs = ensemble(recipe(name, optimizer), samples), normalized(samples[0])
    logits: list[dict[int, Tensor]] = []
    for groups in ([0], [1], [2]), ([0, 1, 2],), ([2, 0], [1]):
        found = {}
        for numbers in groups:
            trained = made.train(numbers, members(*numbers))
            trained.train(False)
            found |= dict(zip(numbers, trained(inputs).detach(), strict=True))
        logits.append(found)
    for other in logits[1:]:
        for number in range(3):
            torch.testing.assert_close(other[number], logits[0][number], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(logits[0][0], logits[0][1])


@pytest.mark.parametrize("numbers", [[0], [0, 1]])
def test_networks_of_a_group_start_from_the_same_weights(
    numbers: list[int], samples: tuple[Tensor, Tensor]
) -> None:
    """Those of the first two of four convolutions are frozen."""
    made = ensemble(recipe("pretrained", epochs=1), samples)
    trained = made.train(numbers, members(*numbers))
    alone = {name: values[None] for name, values in trained.holder.state_dict().items()}
    found = alone if len(numbers) == 1 else {**trained._parameters, **trained._buffers}
    assert STARTED.state is not None
    for name, started in STARTED.state.items():
        layer = int(name.split(".")[0])
        if layer < 16 and "num_batches" not in name:  # the head is new
            for values in found[f"network.{name}"]:
                assert bool((values == torch.as_tensor(started)).all()) == (layer < 7), name


def test_one_network_is_a_plain_training_loop(samples: tuple[Tensor, Tensor]) -> None:
    """Torch's own SGD and schedule, on the members in the order that the ensemble draws."""
    inputs, labels = normalized(samples[0]), samples[1]
    rows = np.flatnonzero(members(5)[0])
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
    made = ensemble(recipe("mlp"), samples)
    trained = made.train([5, 6], members(5, 6))
    torch.testing.assert_close(trained(inputs)[0], network(inputs), rtol=1e-4, atol=1e-5)
    right = (network(inputs).argmax(1) == labels).numpy()
    assert (made.correct(trained, *samples)[0] == right).all()


def test_dropout_is_trained_alone_and_is_the_same_each_time(samples: tuple[Tensor, Tensor]) -> None:
    made = ensemble(recipe("dropout"), samples)
    with pytest.raises(RuntimeError, match="random"):
        made.train([0, 1], members(0, 1))
    size, why = made.fastest_size(lambda number: members(number)[0], most=8)
    assert size == 1
    assert "random operation" in why
    one, again = (made.train([3], members(3))(normalized(samples[0])) for _ in range(2))
    torch.testing.assert_close(one, again, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_half_precision_is_near(name: str, samples: tuple[Tensor, Tensor]) -> None:
    full, half = (
        ensemble(recipe(name, precision=precision), samples).train([0, 1], members(0, 1))
        for precision in ("float32", "bfloat16")
    )
    for group in full, half:
        group.train(False)
    one, other = full(normalized(samples[0])), half(normalized(samples[0]))
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)


class Unregistered(nn.Module):
    """Multiplies by numbers of its own that stacking cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.scale = NETWORKS["mlp"](), torch.randn(3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits * self.scale


def test_a_network_that_stacking_would_change_is_trained_alone(samples: tuple[Tensor, Tensor]) -> None:
    made = ensemble(replace(recipe("mlp"), build=Unregistered), samples)
    with pytest.raises(RuntimeError, match="neither a parameter nor a buffer"):
        made.train([0, 1], members(0, 1))
    found = made.fastest_size(lambda number: members(number)[0], most=8)
    assert found.networks == 1
    assert "stacked" in found.why_alone


def half_frozen() -> nn.Module:
    network = NETWORKS["cnn"]()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith("0."))
    return network


def test_frozen_parameters_stay_as_they_are(samples: tuple[Tensor, Tensor]) -> None:
    """And all have the names that they have in one network, which optimizers may ask for."""
    made = ensemble(replace(recipe("cnn"), build=half_frozen), samples)
    groups = [
        made.train([0, 1], members(0, 1)),
        *(made.train([number], members(number)) for number in (0, 1)),
    ]
    together, *alone = (dict(group.holder.named_parameters()) for group in groups)
    torch.manual_seed(int(np.random.SeedSequence([4, 1, 1]).generate_state(1)[0]))
    untrained = dict(half_frozen().named_parameters())
    assert together.keys() == untrained.keys()
    for name, values in together.items():
        for number in (0, 1):
            torch.testing.assert_close(values[number], alone[number][name], rtol=1e-3, atol=1e-4)
        assert torch.equal(values[1], untrained[name]) == (not untrained[name].requires_grad)


class Noted:
    """Memory on a CPU: 100 bytes for a network, in 1,000."""

    def __init__(self) -> None:
        self.jobs = 0

    def free(self) -> int:
        return 1000

    def peak(self, job: Callable[[], Any]) -> tuple[Any, int]:
        self.jobs += 1
        return job(), 50 * 2**self.jobs


def test_memory_is_measured_and_limits_the_size(
    samples: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real = StackedTraining._seconds

    def seconds(self: StackedTraining, numbers: range, chosen: Callable[[int], Flags]) -> float:
        trained.append(len(numbers))
        assert real(self, numbers, chosen) > 0
        return 1.0

    monkeypatch.setattr(StackedTraining, "_seconds", seconds)
    found = ensemble(recipe("mlp"), samples).fastest_size(
        lambda number: members(number)[0], most=64, memory=Noted()
    )
    assert found.networks == 8  # 16 would take 1,600 bytes
    assert trained == [1, 2, 4, 8]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_gpu_is_not_waited_for(optimizer: str, samples: tuple[Tensor, Tensor]) -> None:
    gpu = torch.device("cuda")
    made = StackedTraining(recipe("mlp", optimizer), *(part.to(gpu) for part in samples), gpu)
    group = made._group([0, 1])
    steps = made._steps(group, [0, 1], members(0, 1))
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in steps:
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu = ensemble(recipe("mlp", optimizer), samples)
    expected = on_cpu.train([0, 1], members(0, 1))
    for found in group, expected:
        found.train(False)
    inputs = normalized(samples[0])
    torch.testing.assert_close(group(inputs.to(gpu)).cpu(), expected(inputs), rtol=1e-2, atol=1e-3)
    assert (made.correct(group, *samples) == on_cpu.correct(expected, *samples)).mean() > 0.98


def test_a_training_that_diverges_is_said(samples: tuple[Tensor, Tensor]) -> None:
    wild = replace(recipe("mlp"), optimizer={"kind": "sgd", "lr": 1e30})
    made = ensemble(wild, samples)
    with pytest.raises(FloatingPointError, match="diverged"):
        made.correct(made.train([0, 1], members(0, 1)), *samples)


def test_random_labels_are_memorized(samples: tuple[Tensor, Tensor]) -> None:
    """A network that fits everything knows a random label where it saw it, and guesses it elsewhere."""
    images, labels = samples[0], torch.from_numpy(np.random.default_rng(0).integers(0, 3, 50))
    wide = replace(
        recipe("mlp", schedule={"kind": "constant"}, epochs=60, batch_size=16),
        build=partial(models.mlp, SHAPE, 3, width=64, depth=1, dropout=0.0),
        optimizer={"kind": "sgd", "lr": 0.1, "momentum": 0.9},
    )
    made, numbers = ensemble(wide, (images, labels)), range(60)
    counts = Counts(50)
    counts.add(members(*numbers), made.correct(made.train(numbers, members(*numbers)), images, labels))
    assert (counts.right[0] == counts.trained[0]).all()
    assert counts.memorization.mean() == pytest.approx(1 - 1 / 3, abs=0.12)
