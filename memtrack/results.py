"""`python -m memtrack.results`: the table of results, and how to open MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from memtrack.io import params
from memtrack.io.paths import DUPLICATES_RESULTS, EVALUATE_RESULTS, repeat_results
from memtrack.io.problems import InputError, entry_point
from memtrack.io.results import DuplicatesMetrics, EvaluateMetrics
from memtrack.io.tracking_uri import tracking_uri
from memtrack.io.validation import read_record


@entry_point
def main() -> int:
    """Print the table; 1 if no variant has been evaluated."""
    loaded = params.load()
    several = bool(loaded.repeat.seeds)
    table = Table(title="Which score finds the corrupted labels?")
    for heading in ("variant", "score"):
        table.add_column(heading, no_wrap=True)
    interval = f"{loaded.evaluate.confidence:.0%} interval"
    headings = ["AUROC", interval, "behind the best", *["mean ± sd (seeds)"] * several, "first 5%"]
    for heading in headings:
        table.add_column(heading, justify="right")
    missing, notes, evaluated = [], [], 0
    for name in loaded.variants:
        try:
            metrics = read_record(EvaluateMetrics, EVALUATE_RESULTS / name / "metrics.json")
        except InputError:
            missing.append(name)
            continue
        evaluated += 1
        repeats = []
        for seed in loaded.repeat.seeds:
            try:
                repeats.append(read_record(EvaluateMetrics, repeat_results(name, seed) / "metrics.json"))
            except InputError:
                missing.append(f"{name} with seed {seed}")
        _add(table, name, metrics, repeats if several else None)
        said = [f"test accuracy {metrics.test_accuracy:.3f}", *metrics.said()]
        with suppress(InputError):  # a stage of its own, perhaps not run
            said.append(read_record(DuplicatesMetrics, DUPLICATES_RESULTS / name / "metrics.json").said())
        notes += [f"{name}: {text}" for text in said]
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(
        "behind the best: with the paired bootstrap interval; first 5%: how many of the samples are "
        "corrupted, and which share of all corrupted ones they are"
    )
    print("\n".join(notes))
    if missing:
        print(f"not evaluated yet: {', '.join(missing)} (run `dvc repro`)")
    print("Pictures and per-sample scores: results/evaluate/<variant>/")
    print(f"Browse the runs: {ui_command(loaded)}")
    return 0 if evaluated else 1


def ui_command(loaded: params.Params) -> str:
    """The command that opens MLflow's pages on the store in use."""
    uri = tracking_uri(loaded.tracking)
    if uri.startswith("http"):
        return f"open {uri}"
    return f".venv/bin/mlflow ui --backend-store-uri {uri}"


def _add(
    table: Table, name: str, metrics: EvaluateMetrics, repeats: Sequence[EvaluateMetrics] | None
) -> None:
    """The rows of a variant; with `repeats`, not None, a column for the mean over these and the first."""
    if not metrics.scores:
        table.add_row(name, "no label known to be corrupted: scores, no AUROC")
    ordered = sorted(metrics.scores.items(), key=lambda item: -item[1].auroc)
    for row, (score, judged) in enumerate(ordered):
        behind = f"{judged.behind_best:.4f} [{judged.behind_best_low:.4f}, {judged.behind_best_high:.4f}]"
        cells = [
            f"{judged.auroc:.4f}",
            f"{judged.auroc_low:.4f} to {judged.auroc_high:.4f}",
            behind if row else "",
        ]
        if repeats is not None:
            found = [other.scores[score].auroc for other in (metrics, *repeats) if score in other.scores]
            cells.append(f"{mean(found):.4f} ± {stdev(found):.4f} ({len(found)})" if len(found) > 1 else "")
        cells.append(f"{judged.precision_first_5:.0%}, {judged.recall_first_5:.0%}")
        table.add_row("" if row else name, score, *cells)
    table.add_section()


if __name__ == "__main__":
    main()
