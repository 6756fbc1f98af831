"""Networks trained in processes and on a Ray cluster: the same ones, whatever dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.sections.compute import ComputeParams
from memtrack.core.memorization.stacked import Group, Recipe, StackedTraining
from memtrack.core.memorization.subsets import Flags, subset
from memtrack.core.training import models
from memtrack.ensembles.executors.processes import Processes
from memtrack.ensembles.executors.ray import Ray
from memtrack.ensembles.group_trainer import Arrays, GroupTrainer

GROUPS = [(0, 1, 2), (3,), (4, 5), (6,), (7,), (8, 9), (10,), (11,)]
"""More than are handed out at once."""


def arrays() -> Arrays:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)
    labels = np.arange(60) % 3
    return Arrays(images[:40], labels[:40], images[40:], labels[40:])


def options(ray: str | None = None) -> ComputeParams:
    """The section `compute`."""
    return placed(ComputeParams(ray=ray), "compute")


def task(kept: Arrays | Path, epochs: int = 5) -> GroupTrainer:
    build = partial(models.mlp, (1, 6, 6), 3, width=8, depth=1, dropout=0.0)
    recipe = Recipe(build, [0.5], [0.25], {"kind": "sgd", "lr": 0.1, "momentum": 0.9},
                    {"kind": "constant"}, epochs, 8, 0)  # fmt: skip
    return GroupTrainer(recipe, kept, partial(subset, 40, share=0.7, seed=0), torch.device("cpu"))


class Dying(GroupTrainer):
    """Ends its worker."""

    def __init__(self) -> None:
        pass

    def train(self, *numbers: int) -> tuple[Flags, Flags]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def by_number(results: Iterator[tuple[tuple[int, ...], Any]]) -> dict[int, tuple[bytes, bytes]]:
    """The bits of each network."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for numbers, (train, test) in results:
        for number, row, held in zip(numbers, train, test, strict=True):
            assert number not in found
            found[number] = row.tobytes(), held.tobytes()
    return found


@pytest.fixture(scope="module")
def alone() -> dict[int, tuple[bytes, bytes]]:
    """One by one, in this process."""
    made = task(arrays())
    made.threads = None
    trained: dict[int, tuple[Flags, Flags]] = {number: made.train(number) for number in range(12)}
    assert len({train.tobytes() for train, _ in trained.values()}) > 1
    return {number: (train.tobytes(), test.tobytes()) for number, (train, test) in trained.items()}


@pytest.mark.usefixtures("warm_workers")
def test_processes_train_what_one_trains_though_one_is_killed(
    alone: dict[int, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    kept = arrays()
    for name in Arrays.__annotations__:
        np.save(tmp_path / f"{name}.npy", getattr(kept, name))
    results = Processes(task(tmp_path), 2, options()).run("train", GROUPS)

    def killing() -> Iterator[tuple[tuple[int, ...], Any]]:
        for done, result in enumerate(results):
            if done == 1:
                [worker, *_] = [
                    child for child in psutil.Process().children() if "spawn_main" in str(child.cmdline())
                ]
                worker.send_signal(signal.SIGKILL)
                worker.wait()
                time.sleep(0.5)  # the pool knows of it before it is asked for more
            yield result

    assert by_number(killing()) == alone


@pytest.mark.usefixtures("warm_workers")
def test_workers_that_always_die_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrack.ensembles.executors.processes.DEATHS", 1)
    with pytest.raises(InputError, match=r"compute.workers") as caught:
        list(Processes(Dying(), 1, options()).run("train", [(1,)]))
    assert "die one after the other" in str(caught.value)


def test_less_at_a_time_where_memory_is_short(
    alone: dict[int, tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes = StackedTraining.train, []

    def train(self: StackedTraining, numbers: Sequence[int], members: Flags) -> Group:
        sizes.append(len(numbers))
        if len(numbers) > 2:
            raise torch.OutOfMemoryError
        return whole(self, numbers, members)

    monkeypatch.setattr(StackedTraining, "train", train)
    found = task(arrays()).train(0, 1, 2, 3, 4)
    assert sizes == [5, 2, 3, 1, 2]
    assert by_number(iter([((0, 1, 2, 3, 4), found)])) == {number: alone[number] for number in range(5)}


@pytest.mark.usefixtures("warm_workers")
def test_an_error_in_a_worker_is_raised_here() -> None:
    with pytest.raises(FileNotFoundError):
        list(Processes(task(Path("no such folder")), 1, options()).run("train", GROUPS))


@pytest.mark.usefixtures("warm_workers")
def test_stopping_early_leaves_no_process() -> None:
    before = set(psutil.Process().children())
    with closing(
        Processes(task(arrays(), epochs=1), 2, options()).run("train", ((number,) for number in range(10**9)))
    ) as made:
        next(made)
    workers = [
        child for child in set(psutil.Process().children()) - before if "spawn_main" in str(child.cmdline())
    ]
    assert not workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each on this machine; Ray counts them as two machines."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    quick = {
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 2,
        "health_check_timeout_ms": 2000,
    }
    head = {
        "num_cpus": 1,
        "include_dashboard": False,
        "object_store_memory": 80 * 2**20,
        "_system_config": quick,
    }
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def test_a_ray_cluster_trains_what_one_trains_though_a_machine_dies(
    cluster: Any, alone: dict[int, tuple[bytes, bytes]]
) -> None:
    engine = Ray(task(arrays()), options(cluster.address))
    assert engine.workers == 2
    results = engine.run("train", GROUPS)

    def killing() -> Iterator[tuple[tuple[int, ...], Any]]:
        for done, result in enumerate(results):
            if done == 0:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            yield result

    try:
        assert by_number(killing()) == alone
        until = time.monotonic() + 30  # Ray takes its time to notice, also when all is done
        while sum(node["Alive"] for node in engine._ray.nodes()) > 1:
            assert time.monotonic() < until
            time.sleep(0.5)
    finally:
        engine._ray.shutdown()


def test_no_ray_cluster_at_an_address() -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=r"ray: no Ray cluster answers at '127.0.0.1:1'"):
        Ray(task(arrays()), options("127.0.0.1:1"))
