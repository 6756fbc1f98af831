"""The overview at the top of the page: what was found, in sentences and plots."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memtrack.core.scores import title
from memtrack.report.page.results import Results
from memtrack.report.sample_tables import score_names

CURVES, POINTS = 5, 200
"""The curves in a plot, and the points of a ROC curve."""
BINS = 40
SUSPECTED = 0.05
"""The share of the samples, the most suspect ones, that are called suspected without probabilities."""
CLASSES, PAIRS = 20, 30
"""Up to so many classes have a confusion matrix; of more, so many pairs of classes are listed."""
Flags = NDArray[np.bool_]


def overview(results: Results, order: str) -> dict[str, Any]:
    """The overview, ready for JSON. `order`: the score that orders the samples."""
    suspected, called = _suspected(results, order)
    return {
        "found": _found(results),
        "aurocs": _aurocs(results),
        "roc": _roc(results),
        "review": _review(results),
        "histogram": _histogram(results, order, suspected),
        "curvature": _curvature(results, suspected),
        "confusion": {"among": called, **_confusion(results, suspected)},
    }


def _found(results: Results) -> list[str]:
    """What was found, in sentences: those that the stages print."""
    metrics = results.evaluated
    first = f"{metrics.samples} training samples in {len(results.variant.summary.classes)} classes"
    if results.variant.flags_known:
        first += f"; {metrics.corrupted} labels are known to be corrupted"
    lines = [first]
    if metrics.test_accuracy is not None:
        lines.append(f"test accuracy {metrics.test_accuracy:.1%}")
    if metrics.scores:
        best = max(metrics.scores.items(), key=lambda item: item[1].auroc)
        lines.append(
            f"{title(best[0])} finds the corrupted samples best: AUROC {best[1].auroc:.4f} "
            f"[{best[1].auroc_low:.4f}, {best[1].auroc_high:.4f}]"
        )
    lines += metrics.in_words()
    if results.learned is not None:  # there are stages that can learn probabilities and look for duplicates
        unknown = ["no probabilities were learned: name this variant in suspects.variants for them"]
        lines += results.learned.in_words() or unknown
        lines.append(
            "nobody has looked for duplicates yet"
            if results.duplicated is None
            else results.duplicated.in_words()
        )
    if results.judged is not None:
        lines.append(results.judged.in_words())
    return [f"{line[0].upper()}{line[1:]}." for line in lines]


def _aurocs(results: Results) -> list[dict[str, Any]]:
    """The scores with their AUROC, the best first."""
    ordered = sorted(results.evaluated.scores.items(), key=lambda item: -item[1].auroc)
    kept = {"auroc", "auroc_low", "auroc_high", "average_precision", "precision_first_5"}
    return [{"key": key, "title": title(key), **judged.model_dump(include=kept)} for key, judged in ordered]


def _drawn(results: Results, count: int) -> list[dict[str, Any]]:
    """So many of the scores, as in `_aurocs`: the one that orders the samples, and the best others."""
    order, found = score_names(results.scores)[0], _aurocs(results)
    best = [judged["key"] for judged in found if judged["key"] != order][: count - 1]
    return [judged for judged in found if judged["key"] in (order, *best)]


def _roc(results: Results) -> list[dict[str, Any]]:
    """The curves of some scores."""
    curves = []
    for judged in _drawn(results, CURVES):
        points = results.roc[results.roc["score"] == judged["key"]]
        points = points.iloc[np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))]
        axes = {"x": points["false_positive_rate"], "y": points["true_positive_rate"]}
        rounded = {name: values.round(5).tolist() for name, values in axes.items()}
        curves.append({"title": judged["title"], "auroc": judged["auroc"], **rounded})
    return curves


def _review(results: Results) -> dict[str, Any]:
    """How many corrupted samples are found by how many that are looked at: the best possible order, a random
    one, and those of some scores."""
    scores = {judged["title"]: judged["key"] for judged in _drawn(results, CURVES - 2)}
    chosen = {"best possible": "best", **scores, "random": "random"}
    found = {name: results.review[key].astype(float).round(1).tolist() for name, key in chosen.items()}
    return {"looked_at": results.review["looked_at"].astype(int).tolist(), "found": found}


def _suspected(results: Results, order: str) -> tuple[Flags, str]:
    """The samples that are called suspected, (N,), and what they are in words."""
    table = results.scores
    if "mislabelled" in table:
        found = table["mislabelled"].to_numpy() > 0.5
        return found, f"the {found.sum()} samples that are mislabelled with a probability above 1/2"
    count = max(1, round(SUSPECTED * len(table)))
    found = table[f"{order}_rank"].to_numpy() <= count
    return found, f"the {count} most suspect samples ({SUSPECTED:.0%})"


def _groups(results: Results, suspected: Flags) -> list[tuple[str, Flags]]:
    """The two groups that plots compare; only those with samples."""
    if results.variant.flags_known:
        wrong = results.variant.corrupted
        groups = [("not corrupted", ~wrong), ("corrupted", wrong)]
    else:
        groups = [("not suspected", ~suspected), ("suspected", suspected)]
    return [(name, members) for name, members in groups if members.any()]


def _histogram(results: Results, order: str, suspected: Flags) -> dict[str, Any]:
    values = results.scores[order].to_numpy()
    finite = np.isfinite(values)
    edges = np.histogram_bin_edges(values[finite], bins=BINS)
    return {
        "title": title(order),
        "edges": edges.tolist(),
        "groups": [
            {"name": name, "counts": np.histogram(values[members & finite], edges)[0].tolist()}
            for name, members in _groups(results, suspected)
        ],
    }


def _curvature(results: Results, suspected: Flags) -> list[dict[str, Any]]:
    """The quartiles of the curvature in each recorded epoch, for each group."""
    groups = _groups(results, suspected)
    found = [
        [np.quantile(values[members], [0.25, 0.5, 0.75]) for _, members in groups]
        for values in results.trajectory.each("curvature")
    ]
    return [
        {
            "name": name,
            "samples": int(members.sum()),
            "epochs": list(results.trajectory.epochs),
            **dict(zip(("low", "middle", "high"), np.transpose(quartiles).tolist(), strict=True)),
        }
        for (name, members), quartiles in zip(groups, zip(*found, strict=True), strict=True)
    ]


def _confusion(results: Results, suspected: Flags) -> dict[str, Any]:
    """How many of the suspected samples have which given and which suggested label: all counts of few
    classes, the largest ones of many."""
    table = results.scores[suspected & (results.scores["suggested_label"] != "").to_numpy()]
    names = results.variant.summary.classes
    number = {name: place for place, name in enumerate(names)}
    counts = Counter(zip(table["given_label"].map(number), table["suggested_label"].map(number), strict=True))
    pairs = [[int(given), int(other), count] for (given, other), count in counts.most_common()]
    return {"matrix": len(names) <= CLASSES, "pairs": pairs if len(names) <= CLASSES else pairs[:PAIRS]}
