"""How much faster is training many networks together than one by one?

    python benchmarks/stacked_training.py                  # some minutes
    python benchmarks/stacked_training.py --device cuda    # less than a minute

For an MLP and two CNNs, the benchmark prints the seconds per network: in a plain loop in one process, with
one core or all, whichever is faster; one by one in one process per core; and as memtrack does it, in one
process per core, in groups of the size that it measures to be the fastest. On a GPU it prints the seconds per
network in groups of several sizes and in groups of the size that memtrack chooses, what the search for that
size took, and the memory of such a group.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from memtrack.config.sections.compute import ComputeParams
from memtrack.config.sections.data import Digits
from memtrack.core.memorization.stacked import Recipe
from memtrack.core.memorization.subsets import Flags, subset
from memtrack.core.training.models.cnn import cnn
from memtrack.core.training.models.mlp import mlp
from memtrack.data.sources import collect
from memtrack.ensembles.executors.processes import Processes
from memtrack.ensembles.group_trainer import Arrays, GroupTrainer

CASES = {
    "MLP 64-64-10, digits, 40 epochs": (
        "digits", partial(mlp, width=64, depth=1, dropout=0.0), 40, 1280,
    ),
    "CNN 16x2, digits, 5 epochs": ("digits", partial(cnn, width=16, depth=2, dropout=0.0), 5, 48),
    "CNN 16x3, 1,000 images of 32x32x3, 2 epochs": (
        "noise", partial(cnn, width=16, depth=3, dropout=0.0), 2, 24,
    ),
}  # fmt: skip
"""For each case: the images, the network, the epochs, and the number of networks trained in groups."""
ON_A_GPU = {
    "MLP 64-64-10, digits, 40 epochs": (
        "digits", partial(mlp, width=64, depth=1, dropout=0.0), 40, (1, 16, 128, 512, 2048),
    ),
    "CNN 16x2, 4,000 images of 28x28, 1 epoch": (
        "grey", partial(cnn, width=16, depth=2, dropout=0.0), 1, (1, 8, 32, 128),
    ),
    "CNN 16x3, 4,000 images of 32x32x3, 1 epoch": (
        "colour", partial(cnn, width=16, depth=3, dropout=0.0), 1, (1, 8, 32, 128),
    ),
}  # fmt: skip
"""For each case on a GPU: the images, the network, the epochs, and the sizes of groups."""
NETWORKS = 4096
"""The number of networks that a size is chosen for on a GPU."""
ALONE = 8
"""How many networks are trained one by one (by each process)."""


def arrays(name: str) -> Arrays:
    """The images, as training and as test samples."""
    if name == "digits":
        found = collect(Digits(kind="digits", root="data/raw"))
        assert found.images is not None
        labels = np.array([int(label) for label in found.labels])
        return Arrays(found.images, labels, found.images[:360], labels[:360])
    draw = np.random.default_rng(0)
    shape = {"noise": (1000, 3, 32, 32), "grey": (4000, 1, 28, 28), "colour": (4000, 3, 32, 32)}[name]
    images = draw.integers(0, 256, shape, dtype=np.uint8)
    labels = draw.integers(0, 10, len(images))
    return Arrays(images, labels, images[:200], labels[:200])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = torch.device(parser.parse_args().device)
    if device.type == "cuda":
        on_a_gpu(device)
        return
    cores = torch.get_num_threads()
    headings = (f"seconds a network, {cores} cores", "a plain loop", f"one by one, {cores} processes",
                "memtrack", "together", "against the loop", "against processes")  # fmt: skip
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for title, (source, build, epochs, count) in CASES.items():
        kept = arrays(source)
        recipe = recipe_of(build, kept, epochs)
        members = partial(subset, len(kept.labels), share=0.7, seed=0)
        plain = min(_plain(recipe, kept, members, threads) for threads in (1, cores))
        torch.set_num_threads(cores)
        trainer = GroupTrainer(recipe, kept, members, torch.device("cpu"))
        many = Processes(trainer, cores, ComputeParams())
        most = -(-count // cores)
        [(_, (size, _))] = many.run("fastest_size", [(most, most)])
        apart = _seconds(many, [(number,) for number in range(ALONE * cores)])
        groups = [tuple(range(first, min(first + size, count))) for first in range(0, count, size)]
        together = _seconds(many, groups)
        print(f"| {title} | {plain:.3f} | {apart:.3f} | {together:.3f} | {size} | {plain / together:.1f}x "
              f"| {apart / together:.1f}x |", flush=True)  # fmt: skip


def recipe_of(build: Callable[..., torch.nn.Module], kept: Arrays, epochs: int) -> Recipe:
    """The training of a case."""
    shape, optimizer = kept.images.shape[1:], {"kind": "sgd", "lr": 0.05, "momentum": 0.9}
    about = [0.3] * shape[0]
    return Recipe(partial(build, shape, 10), about, about, optimizer, {"kind": "cosine"}, epochs, 64, 0)


def on_a_gpu(device: torch.device) -> None:
    """Measure groups of several sizes, and print a table."""
    headings = (
        "seconds a network",
        "in groups of ...",
        "chosen",
        "seconds a network then",
        "search, s",
        "GB",
    )
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for title, (source, build, epochs, sizes) in ON_A_GPU.items():
        kept = arrays(source)
        members = partial(subset, len(kept.labels), share=0.7, seed=0)
        trainer = GroupTrainer(recipe_of(build, kept, epochs), kept, members, device)
        GroupTrainer(recipe_of(build, kept, 1), kept, members, device).train(0, 1)  # warms up
        found = [f"{_group_seconds(trainer, size):.4f} ({size})" for size in sizes]
        start = time.perf_counter()
        size = trainer.fastest_size(NETWORKS // 4, NETWORKS).networks
        search = time.perf_counter() - start
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        chosen = _group_seconds(trainer, size)
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
        print(f"| {title} | {', '.join(found)} | {size} | {chosen:.4f} | {search:.1f} | {peak:.1f} |",
              flush=True)  # fmt: skip


def _group_seconds(trainer: GroupTrainer, size: int) -> float:
    """Seconds per network to train and test a group."""
    start = time.perf_counter()
    trainer.train(*range(size))
    return (time.perf_counter() - start) / size


def _plain(recipe: Recipe, kept: Arrays, members: Callable[[int], Flags], threads: int) -> float:
    """Seconds per network in a training loop as one would write it by hand, without testing the network."""
    torch.set_num_threads(threads)
    inputs, labels = (torch.from_numpy(kept.images) / 255 - 0.3) / 0.3, torch.from_numpy(kept.labels)
    seconds = []
    for number in range(ALONE):
        rows, network = torch.from_numpy(np.flatnonzero(members(number))), recipe.build()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        start = time.perf_counter()
        for _ in range(recipe.epochs):
            for batch in rows[torch.randperm(len(rows))].split(recipe.batch_size):
                optimizer.zero_grad()
                cross_entropy(network(inputs[batch]), labels[batch]).backward()
                optimizer.step()
        seconds.append(time.perf_counter() - start)
    return float(np.mean(seconds[1:]))


def _seconds(engine: Processes, calls: list[tuple[int, ...]]) -> float:
    """Seconds per network, after each process has trained two groups."""
    ends, counts = [], []
    for numbers, _ in engine.run("train", calls):
        ends.append(time.perf_counter())
        counts.append(len(numbers))
    warm = 2 * engine.workers
    return (ends[-1] - ends[warm - 1]) / sum(counts[warm:])


if __name__ == "__main__":
    main()
