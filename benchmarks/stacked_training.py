"""How much faster is training many networks together than one by one?

    python benchmarks/stacked_training.py        # some minutes

For an MLP and two CNNs, the benchmark prints the seconds per network: in a plain loop in one process, with
one core or all, whichever is faster; one by one in one process per core; and as memtrack does it, in one
process per core, in groups of the size that it measures to be the fastest.
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
from memtrack.core.training import models
from memtrack.data.sources import collect
from memtrack.ensembles.executors.processes import Processes
from memtrack.ensembles.group_trainer import Arrays, GroupTrainer

CASES = {
    "MLP 64-64-10, digits, 40 epochs": (
        "digits", partial(models.mlp, width=64, depth=1, dropout=0.0), 40, 1280,
    ),
    "CNN 16x2, digits, 5 epochs": ("digits", partial(models.cnn, width=16, depth=2, dropout=0.0), 5, 48),
    "CNN 16x3, 1,000 images of 32x32x3, 2 epochs": (
        "noise", partial(models.cnn, width=16, depth=3, dropout=0.0), 2, 24,
    ),
}  # fmt: skip
"""For each case: the images, the network, the epochs, and the number of networks trained in groups."""
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
    images = draw.integers(0, 256, (1000, 3, 32, 32), dtype=np.uint8)
    labels = draw.integers(0, 10, 1000)
    return Arrays(images, labels, images[:200], labels[:200])


def main() -> None:
    """Measure, and print a table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    cores = torch.get_num_threads()
    headings = (f"seconds a network, {cores} cores", "a plain loop", f"one by one, {cores} processes",
                "memtrack", "together", "against the loop", "against processes")  # fmt: skip
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for title, (source, build, epochs, count) in CASES.items():
        kept = arrays(source)
        recipe = Recipe(partial(build, kept.images.shape[1:], 10), [0.3] * kept.images.shape[1],
                        [0.3] * kept.images.shape[1], {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
                        {"kind": "cosine"}, epochs, 64, 0)  # fmt: skip
        members = partial(subset, len(kept.labels), share=0.7, seed=0)
        plain = min(_plain(recipe, kept, members, threads) for threads in (1, cores))
        torch.set_num_threads(cores)
        trainer = GroupTrainer(recipe, kept, members, torch.device("cpu"))
        many = Processes(trainer, cores, ComputeParams())
        [(_, size)] = many.run("fastest_size", [(-(-count // cores),)])
        apart = _seconds(many, [(number,) for number in range(ALONE * cores)])
        groups = [tuple(range(first, min(first + size, count))) for first in range(0, count, size)]
        together = _seconds(many, groups)
        print(f"| {title} | {plain:.3f} | {apart:.3f} | {together:.3f} | {size} | {plain / together:.1f}x "
              f"| {apart / together:.1f}x |", flush=True)  # fmt: skip


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
