"""`python -m memtrack.results`: the table of results, and how to open MLflow."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from memtrack.io import params
from memtrack.io.paths import EVALUATE_RESULTS
from memtrack.io.problems import InputError, entry_point
from memtrack.io.results import EvaluateMetrics
from memtrack.io.tracking_uri import tracking_uri
from memtrack.io.validation import read_record


@entry_point
def main() -> int:
    """Print the table; 1 if no variant has been evaluated."""
    loaded = params.load()
    table = Table(title="Which score finds the corrupted labels?")
    for heading in ("variant", "score"):
        table.add_column(heading)
    for heading in ("AUROC", f"{loaded.evaluate.confidence:.0%} interval", "test accuracy"):
        table.add_column(heading, justify="right")
    missing = []
    for name in loaded.variants:
        try:
            metrics = read_record(EvaluateMetrics, EVALUATE_RESULTS / name / "metrics.json")
        except InputError:
            missing.append(name)
            continue
        _add(table, name, metrics)
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    if missing:
        print(f"not evaluated yet: {', '.join(missing)} (run `dvc repro`)")
    print("Pictures and per-sample scores: results/evaluate/<variant>/")
    print(f"Browse the runs: {ui_command(loaded)}")
    return 1 if len(missing) == len(loaded.variants) else 0


def ui_command(loaded: params.Params) -> str:
    """The command that opens MLflow's pages on the store in use."""
    uri = tracking_uri(loaded.tracking)
    if uri.startswith("http"):
        return f"open {uri}"
    return f".venv/bin/mlflow ui --backend-store-uri {uri}"


def _add(table: Table, name: str, metrics: EvaluateMetrics) -> None:
    accuracy = f"{metrics.test_accuracy:.3f}"
    if not metrics.scores:
        table.add_row(name, "no label known to be corrupted: scores, no AUROC", "", "", accuracy)
    ordered = sorted(metrics.scores.items(), key=lambda item: -item[1].auroc)
    for row, (score, judged) in enumerate(ordered):
        interval = f"{judged.auroc_low:.4f} to {judged.auroc_high:.4f}"
        first = row == 0
        table.add_row(
            name if first else "", score, f"{judged.auroc:.4f}", interval, accuracy if first else ""
        )
    table.add_section()


if __name__ == "__main__":
    main()
