"""How much faster are many networks trained together than one by one?

    python benchmarks/stacked_training.py        # some minutes

prints, for an MLP and two CNNs, the seconds that each network takes: one by one in one process with all
cores; one by one in a process for each core; and as memtrack does it, in a process for each core in groups of
the size that it measures to be the fastest.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch

from memtrack.core import models
from memtrack.core.ensemble import Recipe, subset
from memtrack.io.engines import Arrays, Processes, Task
from memtrack.io.params import Digits
from memtrack.io.sources import collect

CASES = {
    "MLP 64-64-10, digits, 40 epochs": (
        "digits", partial(models.mlp, width=64, depth=1, dropout=0.0), 40, 400,
    ),
    "CNN 16x2, digits, 5 epochs": ("digits", partial(models.cnn, width=16, depth=2, dropout=0.0), 5, 32),
    "CNN 16x3, 1,000 images of 32x32x3, 2 epochs": (
        "noise", partial(models.cnn, width=16, depth=3, dropout=0.0), 2, 16,
    ),
}  # fmt: skip
"""For each the images, the network, epochs, and how many networks are trained together in all."""
ALONE = 8
"""So many are trained one by one."""


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
    """Measure and print."""
    cores = torch.get_num_threads()
    headings = (f"seconds a network, {cores} cores", "one by one", f"one by one, {cores} processes",
                "memtrack", "together", "against one by one", "against processes")  # fmt: skip
    print(f"| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for title, (source, build, epochs, count) in CASES.items():
        kept = arrays(source)
        recipe = Recipe(partial(build, kept.images.shape[1:], 10), [0.3] * kept.images.shape[1],
                        [0.3] * kept.images.shape[1], {"kind": "sgd", "lr": 0.05, "momentum": 0.9},
                        {"kind": "cosine"}, epochs, 64, 0)  # fmt: skip
        members = partial(subset, len(kept.labels), share=0.7, seed=0)
        task = Task(recipe, kept, members, torch.device("cpu"), threads=None)
        task.train(0)  # the first one imports and warms up
        start = time.perf_counter()
        for number in range(ALONE):
            task.train(number)
        alone = (time.perf_counter() - start) / ALONE
        many = Processes(Task(recipe, kept, members, torch.device("cpu")), cores)
        [(_, size)] = many.run("fastest_size", [(-(-count // cores),)])
        apart = _seconds(many, [(number,) for number in range(ALONE * cores)], cores) / (ALONE * cores)
        groups = [tuple(range(first, min(first + size, count))) for first in range(0, count, size)]
        together = _seconds(many, groups, cores) / count
        print(f"| {title} | {alone:.3f} | {apart:.3f} | {together:.3f} | {size} | {alone / together:.1f}x "
              f"| {apart / together:.1f}x |", flush=True)  # fmt: skip


def _seconds(engine: Processes, calls: list[tuple[int, ...]], cores: int) -> float:
    """Of all calls but the first ones, with which each process starts and warms up."""
    results = engine.run("train", [calls[0]] * cores + calls)
    for _ in range(cores):
        next(results)
    start = time.perf_counter()
    for _ in results:
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
