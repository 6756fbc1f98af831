"""Several processes train a network as one does."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.distributed import ALONE, ProcessGroup, World, _leaves_parameters_unused
from memtrack.core.training.losses import EarlyLearning
from memtrack.core.training.trainer import Trainer, accuracy

SHAPE, CLASSES, SAMPLES = (2, 6, 6), 3, 47
CPU = torch.device("cpu")


class OneOf(World):
    """A process of several, without the others."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 64, 1001])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_parts_are_even_and_in_order(size: int, count: int) -> None:
    parts = [np.arange(count)[OneOf(rank, size).part(count)] for rank in range(size)]
    assert np.concatenate(parts).tolist() == list(range(count))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_a_process_takes_a_part_of_each_batch_or_some_of_the_batches() -> None:
    cuts = np.split(np.arange(20), [6, 12, 17])
    world = OneOf(1, 2)
    assert [cut.tolist() for cut in world.of_each(cuts)] == [[3, 4, 5], [9, 10, 11], [14, 15, 16], [18, 19]]
    assert [cut.tolist() for cut in world.some_of(cuts)] == [[12, 13, 14, 15, 16], [17, 18, 19]]


class Spare(nn.Module):
    """Uses its second layer with a probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.probability = probability

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        return self.second(hidden) if torch.rand(()) < self.probability else hidden


@pytest.mark.parametrize(("probability", "unused"), [(0.0, True), (0.2, True), (1.0, False)])
def test_a_network_that_leaves_parameters_unused(probability: float, unused: bool) -> None:
    torch.manual_seed(0)
    model = Spare(probability)
    before = [parameter.clone() for parameter in model.parameters()]
    assert _leaves_parameters_unused(model, torch.zeros(2, 2)) is unused
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def trained(world: World) -> dict[str, Any]:
    """Trainings of three epochs, with all that a training may have, in float64."""
    torch.set_default_dtype(torch.float64)
    return {
        "plain": training(world),
        "robust": training(world, loss=EarlyLearning(SAMPLES, CLASSES), average=0.7, sam=0.05),
        "weighted": training(
            world, loss=EarlyLearning(SAMPLES, CLASSES), sample_weights=np.arange(SAMPLES) % 5 / 4
        ),
        "in order": list(world.in_order([world.rank, -world.rank])),
        "decided": world.decided(lambda: world.rank),
    }


def training(world: World, **options: Any) -> dict[str, Any]:
    """What a training leaves."""
    torch.manual_seed(world.rank)  # the processes begin with the weights of the first
    model = nn.Sequential(
        nn.Conv2d(SHAPE[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(),
        nn.Linear(4 * SHAPE[1] * SHAPE[2], 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3),
        nn.Linear(8, CLASSES),
    )  # fmt: skip
    model[-1].unused = nn.Parameter(torch.ones(2))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SAMPLES, *SHAPE, generator=generator)
    labels = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
    cuts = np.split(np.arange(SAMPLES), [16, 32])
    ours = world.of_each(cuts)
    mine = [(images[rows], labels[rows]) for rows in ours]
    trainer = Trainer(
        model,
        optimizer={"kind": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        schedule={"kind": "cosine"},
        augment=Augmentation(crop=1, flip=True),
        epochs=3,
        steps=3,
        seed=5,
        world=world,
        shape=SHAPE,
        **options,
    )
    results = [trainer.run_epoch(epoch, mine, [len(rows) for rows in cuts], ours) for epoch in (1, 2, 3)]
    some = [(images[rows], labels[rows]) for rows in world.some_of(cuts)]
    state = trainer.state()
    return {
        "weights": {
            f"{part} {name}": tensor.numpy()
            for part, tensors in (
                ("trained", state["model"]),
                ("loss", state.get("loss", {})),
                ("kept", trainer.model.state_dict()),
            )
            for name, tensor in tensors.items()
        },
        "results": [(result.loss, result.accuracy) for result in results],
        "accuracy": accuracy(trainer.model, some, world),
    }


def in_group(rank: int, size: int, port: int, work: Callable[[World], Any], answers: Any) -> None:
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    answers.put((rank, work(ProcessGroup(CPU))))
    distributed.destroy_process_group()


def in_processes(size: int, work: Callable[[World], Any]) -> list[Any]:
    """What each of some processes answers."""
    context = multiprocessing.get_context("spawn")  # autograd has threads, which a fork would lack
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers = context.Queue()
    processes = [
        context.Process(target=in_group, args=(rank, size, port, work, answers)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=100) for _ in range(size))
    for process in processes:
        process.join()
    return [found[rank] for rank in range(size)]


@pytest.fixture(autouse=True)
def float32_afterwards() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("warm_workers")
@pytest.mark.parametrize("size", [3])
def test_training_differs_from_that_in_one_process_by_rounding(size: int) -> None:
    """With batch norm, dropout, augmentation, and batches of which processes have unequal parts."""
    alone = trained(ALONE)
    answers = in_processes(size, trained)
    for answer in answers:
        for kind in ("plain", "robust", "weighted"):
            expected, found, first = alone[kind], answer[kind], answers[0][kind]
            for name, weights in expected["weights"].items():
                np.testing.assert_allclose(found["weights"][name], weights, rtol=1e-10, atol=1e-12)
                assert (found["weights"][name] == first["weights"][name]).all()
            np.testing.assert_allclose(found["results"], expected["results"], rtol=1e-12)
            assert found["accuracy"] == expected["accuracy"]
        assert answer["decided"] == 0
    ranks = [number for rank in range(size) for number in (rank, -rank)]
    assert [answer["in order"] for answer in answers] == [ranks, *[[]] * (size - 1)]
