"""In which order are the checkpoints most informative about a setting of the curvature?

    python benchmarks/checkpoint_order.py FOLDER ...

The folders are those that `cost_and_quality.py record` has filled. Settings (h, n) are ranked by their AUROC
after 1, 2, ... of every second epoch. This ranking, on which a pruner bases its decision at that point, is
compared with the ranking after all of these epochs (Kendall's tau). For each order of the checkpoints, the
benchmark prints the mean over the folders, and the lowest value in brackets.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

VISITED = 6


def coarse_to_fine(epochs: list[int]) -> list[int]:
    """The middle epoch, those at the quarters, at the eighths, ..."""
    order: list[int] = []
    spans = [(0, len(epochs))]
    while spans:
        start, end = spans.pop(0)
        if start < end:
            middle = (start + end) // 2
            order.append(epochs[middle])
            spans += [(start, middle), (middle + 1, end)]
    return order


ORDERS: dict[str, Callable[[list[int]], list[int]]] = {
    "first to last": lambda epochs: epochs,
    "last to first": lambda epochs: epochs[::-1],
    "coarse to fine": coarse_to_fine,
    "the last, then coarse to fine": lambda epochs: [epochs[-1], *coarse_to_fine(epochs[:-1])],
    "from two thirds, then coarse to fine": lambda epochs: list(
        dict.fromkeys([epochs[2 * len(epochs) // 3], *coarse_to_fine(epochs)])
    ),
}


def main() -> None:
    """Compare the orders and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    found: dict[str, list[list[float]]] = defaultdict(list)
    for folder in parser.parse_args().folders:
        files = sorted(folder.glob("epoch_*.npz"))
        epochs = list(range(2, len(files) + 1, 2))
        records = {epoch: dict(np.load(files[epoch - 1])) for epoch in epochs}
        corrupted = records[2]["corrupted"]
        settings = [
            {epoch: record[name][:n].astype(float).mean(axis=0) for epoch, record in records.items()}
            for name, probes in records[2].items() if name.startswith("shared")
            for n in (1, 2, 5) if n <= len(probes)
        ]  # fmt: skip

        def aurocs(chosen: list[int]) -> list[float]:
            means = [np.mean([curvature[epoch] for epoch in chosen], axis=0) for curvature in settings]  # noqa: B023
            return [roc_auc_score(corrupted, mean) for mean in means]  # noqa: B023

        final = aurocs(epochs)
        for name, order in ORDERS.items():
            visited = order(epochs)
            found[name].append([
                kendalltau(aurocs(visited[:count]), final).statistic for count in range(1, VISITED + 1)
            ])  # fmt: skip
    print("after", *(f"{count:>11}" for count in range(1, VISITED + 1)))
    for name, rows in found.items():
        table = np.array(rows)
        cells = [f"{mean:.2f} ({least:.2f})" for mean, least in zip(table.mean(0), table.min(0), strict=True)]
        print(name, *cells, sep="  ")


if __name__ == "__main__":
    main()
