"""Pictures of results."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from memtrack.core.images.pixels import Pixels, pictures

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
POINTS = 20_000
"""The largest number of points in a scatter plot."""
CLEAN, CORRUPTED = "#4477aa", "#cc3311"  # colour-blind readers can tell them apart


def roc_curves(
    curves: pd.DataFrame, aurocs: Mapping[str, float], titles: Mapping[str, str], path: Path
) -> None:
    """Draw the ROC curves (score, false_positive_rate, true_positive_rate) of the ten best scores, with the
    title and the AUROC of each in the legend."""
    figure, axes = _figure(5.5, 5)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    for name in _best(aurocs):
        points = curves[curves["score"] == name]
        axes.plot(
            points["false_positive_rate"],
            points["true_positive_rate"],
            label=f"{titles[name]}: {aurocs[name]:.3f}",
        )
    axes.set(xlabel="clean samples flagged (share)", ylabel="corrupted samples found (share)")
    axes.set_title("Which score finds the corrupted labels?")
    axes.legend(title="AUROC", loc="lower right", fontsize="small")
    _save(figure, path)


def review_curves(
    table: pd.DataFrame, aurocs: Mapping[str, float], titles: Mapping[str, str], path: Path
) -> None:
    """Draw how many corrupted samples are found over how many are looked at (review.csv), in the order of
    the ten best scores."""
    figure, axes = _figure(5.5, 4)
    looked = table["looked_at"]
    axes.plot(looked, table["best"], color="0.4", linestyle="--", linewidth=1, label="best possible")
    axes.plot(looked, table["random"], color="0.7", linestyle=":", linewidth=1, label="random")
    for name in _best(aurocs):
        axes.plot(looked, table[name], label=titles[name])
    axes.set(xscale="log", xlabel="samples looked at", ylabel="corrupted samples found")
    axes.legend(fontsize="small")
    _save(figure, path)


def _best(aurocs: Mapping[str, float]) -> list[str]:
    """The ten best scores, the best first: there are ten colours."""
    return sorted(aurocs, key=lambda score: -aurocs[score])[:10]


def histograms(scores: Mapping[str, Values], corrupted: Flags | None, path: Path) -> None:
    """Draw the distribution of each score, by title, split into clean and corrupted if this is known."""
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False)
    for axes, (name, values) in zip(grid.flat, scores.items(), strict=False):
        edges = np.histogram_bin_edges(values, bins=40)
        groups: list[tuple[str | None, str, Values]] = (
            [(None, CLEAN, values)]
            if corrupted is None
            else [("clean", CLEAN, values[~corrupted]), ("corrupted", CORRUPTED, values[corrupted])]
        )
        for label, colour, members in groups:
            counts, _ = np.histogram(members, edges)
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.7, label=label)
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())  # they take a third of the time to draw
        axes.set(title=name, ylabel="samples", ylim=(0.7, None))
    if corrupted is not None:
        grid.flat[0].legend(fontsize="small")
    for axes in grid.flat[len(scores) :]:
        axes.axis("off")
    _save(figure, path, inches=(0.65, 0.35, 0.5, 0.65))


def curvature_by_epoch(
    epochs: Sequence[int], curvature: Iterable[Values], corrupted: Flags | None, path: Path
) -> None:
    """Draw the median and middle half of the curvature (N,) over the epochs, clean and corrupted apart."""
    figure, axes = _figure(6, 4)
    all_samples = slice(None)
    groups: list[tuple[str, str, slice | Flags]] = (
        [("all samples", CLEAN, all_samples)]
        if corrupted is None
        else [("clean", CLEAN, ~corrupted), ("corrupted", CORRUPTED, corrupted)]
    )
    quartiles = [
        [np.quantile(values[members], [0.25, 0.5, 0.75]) for _, _, members in groups] for values in curvature
    ]
    for (label, colour, _), found in zip(groups, zip(*quartiles, strict=True), strict=True):
        low, middle, high = np.transpose(found)
        axes.plot(epochs, middle, color=colour, label=label)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="epoch", ylabel="curvature (median, middle half)", yscale="log")
    axes.set_title("Curvature during training")
    axes.legend()
    _save(figure, path)


def probabilities(probability: Values, corrupted: Flags | None, path: Path) -> None:
    """Draw the distribution of the probability that a label is wrong, (N,). If the corrupted samples are
    known, split it, and draw the share of them among the samples of each tenth beside it."""
    figure, grid = plt.subplots(1, 1 if corrupted is None else 2, figsize=(9, 4), squeeze=False)
    left, edges = grid[0, 0], np.linspace(0, 1, 21)
    groups: list[tuple[str, str, Values]] = (
        [("all samples", CLEAN, probability)]
        if corrupted is None
        else [("clean", CLEAN, probability[~corrupted]), ("corrupted", CORRUPTED, probability[corrupted])]
    )
    for label, colour, members in groups:
        left.stairs(np.histogram(members, edges)[0], edges, fill=True, color=colour, alpha=0.7, label=label)
    left.set(xlabel="probability that the label is wrong", ylabel="samples", yscale="log", ylim=(0.7, None))
    left.set_title("Which labels are wrong?")
    left.legend()
    if corrupted is not None:
        right = grid[0, 1]
        share, said = calibration_curve(corrupted, probability, n_bins=10)
        right.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
        right.plot(said, share, marker="o", color=CORRUPTED)
        right.set(xlabel="probability that the label is wrong", ylabel="share of wrong labels")
        right.set_title("Are the probabilities right?")
    _save(figure, path)


def memorization_histogram(values: Values, corrupted: Flags | None, threshold: float, path: Path) -> None:
    """Draw the distribution of memorization, split into clean and corrupted if this is known."""
    figure, axes = _figure(6, 4)
    edges = np.linspace(min(0.0, np.nanmin(values)), 1, 41)
    groups: list[tuple[str, str, Values]] = (
        [("all samples", CLEAN, values)]
        if corrupted is None
        else [("clean", CLEAN, values[~corrupted]), ("corrupted", CORRUPTED, values[corrupted])]
    )
    for label, colour, members in groups:
        counts, _ = np.histogram(members[~np.isnan(members)], edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.7, label=label)
    axes.axvline(threshold, color="0.5", linestyle=":", label=f"memorized: above {threshold}")
    axes.set(yscale="log", xlabel="memorization (Feldman & Zhang)", ylabel="samples", ylim=(0.7, None))
    axes.set_title("Which samples are memorized?")
    axes.legend(fontsize="small")
    _save(figure, path)


def scatters(scores: Mapping[str, Values], memorization: Values, corrupted: Flags | None, path: Path) -> None:
    """Draw each score, by title, over memorization: a point for each sample, in red if it is corrupted. Of
    more than `POINTS` samples as many are drawn, chosen at random, always the same."""
    count = len(memorization)
    drawn = np.arange(count)
    if count > POINTS:
        drawn = np.sort(np.random.default_rng(0).choice(count, POINTS, replace=False))
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.8 * rows), squeeze=False)
    colours = np.where(np.zeros(count, bool) if corrupted is None else corrupted, CORRUPTED, CLEAN)[drawn]
    for axes, (name, values) in zip(grid.flat, scores.items(), strict=False):
        axes.scatter(
            memorization[drawn], values[drawn], s=4, c=colours, alpha=0.5, linewidths=0, rasterized=True
        )
        axes.set(title=name)
    for axes in grid.flat[max(0, len(scores) - columns) : len(scores)]:
        axes.set_xlabel("memorization" if count <= POINTS else f"memorization ({POINTS:,} of {count:,})")
    for axes in grid.flat[len(scores) :]:
        axes.axis("off")
    if corrupted is not None:
        grid.flat[0].plot([], [], "o", ms=4, color=CORRUPTED, label="corrupted")
        grid.flat[0].legend(fontsize="x-small")
    _save(figure, path, inches=(0.8, 0.5, 0.4, 0.6))


def utility_curves(table: pd.DataFrame, accuracy: float, path: Path) -> None:
    """Draw test accuracy over the threshold above which samples are left out, with its standard deviation.

    `table` is that of utility.csv; `accuracy` is the test accuracy with all samples.
    """
    kinds = list(dict.fromkeys(table["tests"]))
    figure, grid = plt.subplots(1, len(kinds), figsize=(4.5 * len(kinds), 3.8), squeeze=False)
    for axes, kind in zip(grid.flat, kinds, strict=True):
        part = table[table["tests"] == kind]
        for column, colour in (("without_random", CLEAN), ("without_memorized", CORRUPTED)):
            axes.errorbar(part["threshold"], part[column], part[f"{column}_sd"], color=colour, marker=".",
                          capsize=2, label=column.replace("_", " "))  # fmt: skip
        if kind == "all":
            axes.axhline(accuracy, color="0.6", linestyle=":", label="with all samples")
        counts = part["left_out"].tolist()
        axes.set(title=f"test samples: {kind}", ylabel="test accuracy (bars: sd over networks)",
                 xlabel=f"threshold on mem (leaves out {counts[0]} ... {counts[-1]} samples)")  # fmt: skip
    grid.flat[0].legend(fontsize="small")
    _save(figure, path)


def accuracy_by_labels(table: pd.DataFrame, path: Path) -> None:
    """Draw test accuracy for each set of labels (the columns of `table`), with a line for each seed (row)."""
    figure, axes = _figure(5, 3.8)
    places = range(len(table.columns))
    for _, row in table.iterrows():
        axes.plot(places, row, ".-", color="0.7", linewidth=0.8)
    axes.plot(places, table.mean(), "o", color=CORRUPTED, label=f"mean of {len(table)} seeds")
    axes.set_xticks(list(places), [f"{name} labels" for name in table.columns], fontsize="small")
    axes.set(ylabel="test accuracy")
    axes.legend(fontsize="small")
    _save(figure, path)


def value_over_scale(
    points: pd.DataFrame, key: str, label: str, default: float, winner: tuple[float, int], path: Path
) -> None:
    """Draw the column `key` over h, with a line for each number of probes. A line has a gap at an h that only
    other numbers of probes have.

    `points` has a row for each h and n; `winner` is one of them. Much worse points lie below the frame.
    """
    figure, axes = _figure(6, 4)
    table = points.pivot_table(values=key, index="perturbation_scale", columns="probes")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(table.columns)))
    for number, colour in zip(table.columns, colours, strict=True):
        axes.plot(table.index, table[number], ".-", color=colour, label=f"n = {number}")
    axes.axvline(default, color="0.6", linestyle=":", label="params.yaml")
    scale, probes = winner
    won = points[(points["perturbation_scale"] == scale) & (points["probes"] == probes)]
    axes.plot(won["perturbation_scale"], won[key], "*", color=CORRUPTED, markersize=11, label="the winner")
    best, middle = points[key].max(), points[key].median()
    low = max(points[key].min(), best - max(0.01, 3 * (best - middle)))
    axes.set_ylim(low - 0.05 * (best - low), best + 0.05 * (best - low) + 1e-4)
    axes.set(xscale="log", xlabel="perturbation scale h (normalized input units)", ylabel=label)
    question = "finds the corrupted labels" if key == "auroc" else "measures memorization"
    axes.set_title(f"Which h {question}?")
    axes.legend(fontsize="small")
    _save(figure, path)


def accuracy_lines(table: pd.DataFrame, column: str, label: str, title: str, path: Path) -> None:
    """Draw the columns of a table but the first over the column `column`, which may hold names."""
    names = table[column].dtype.kind not in "if"
    figure, axes = _figure(max(5.5, 0.28 * len(table) + 2) if names else 5.5, 4.5 if names else 4)
    places = np.arange(len(table)) if names else table[column]
    styles = {
        "memorized": (CORRUPTED, "-o"),
        "others": (CLEAN, "-o"),
        "corrupted": (CORRUPTED, ":x"),
        "clean": (CLEAN, ":x"),
    }
    for group in table.columns.drop(column):
        colour, style = styles[group]
        axes.plot(
            places, table[group], style[-1] if names else style, color=colour, label=group, markersize=5
        )
    if names:
        axes.set_xticks(places, table[column], rotation=90, fontsize="small", parse_math=False)
    axes.set(xlabel=label, ylabel="share given its label", ylim=(-0.03, 1.03))
    axes.set_title(title)
    axes.legend(fontsize="small")
    _save(figure, path)


def save_axes(drawn: Axes | NDArray[np.object_], path: Path) -> None:
    """Save the figure that contains axes which another library has drawn."""
    first: Axes = np.ravel(np.asarray(drawn, dtype=object))[0]
    figure = first.get_figure(root=True)
    assert figure is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
    plt.close(figure)


def contact_sheet(images: Pixels, captions: Sequence[str], marked: Sequence[bool], path: Path) -> None:
    """Draw images (K, channels, H, W) in rows of ten, each with a caption, which is red if `marked`."""
    columns, wide, high, side, gap = 10, 1.35, 1.75, 1.25, 0.1  # the last four in inches
    rows = max(1, -(-len(images) // columns))
    figure = plt.figure(figsize=(columns * wide + gap, rows * high + gap))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all images: one for each takes seconds
    for number, (image, caption, mark) in enumerate(zip(pictures(images), captions, marked, strict=True)):
        row, column = divmod(number, columns)
        left, bottom = gap + column * wide, gap + (rows - 1 - row) * high
        grey = image.shape[0] == 1
        axes.imshow(
            image[0] if grey else image.transpose(1, 2, 0),
            cmap="gray" if grey else None,
            vmin=0,
            vmax=255,
            extent=(left, left + side, bottom, bottom + side),
        )
        axes.text(left + side / 2, bottom + side + 0.04, caption, fontsize=7, ha="center", va="bottom",
                  color=CORRUPTED if mark else "black", parse_math=False)  # fmt: skip
    if not len(images):
        axes.text(gap, high / 2, "none", fontsize=12)
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(0, figure.get_figheight()))
    axes.axis("off")
    _write(figure, path)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(width, height))


def _save(figure: Figure, path: Path, inches: tuple[float, float, float, float] | None = None) -> None:
    """`inches`: space left of, below, above and between the axes of a grid; None: computed, which is slow."""
    if inches is None:
        figure.tight_layout()
    else:
        (width, height), (left, below, above, between) = figure.get_size_inches(), inches
        columns, rows = (len({getattr(axes.get_subplotspec(), name).start for axes in figure.axes})
                         for name in ("colspan", "rowspan"))  # fmt: skip
        wide = (width - left * columns) / columns
        high = (height - (above + below) - between * (rows - 1)) / rows
        figure.subplots_adjust(left / width, below / height, 1 - 0.1 / width, 1 - above / height,
                               left / wide, between / high)  # fmt: skip
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box is drawn in its place
        figure.savefig(path, dpi=110, metadata={"Software": None})  # makes the bytes the same each time
    plt.close(figure)
