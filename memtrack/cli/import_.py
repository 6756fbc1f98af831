"""`memtrack import`: make decisions.csv of what people decided in Label Studio."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from memtrack.config.errors import InputError, Problem
from memtrack.data.decisions import write_decisions
from memtrack.data.prepared import PreparedData
from memtrack.data.variants import VariantData
from memtrack.report.label_studio import exported_decisions
from memtrack.stages import load_variant
from memtrack.terminal.entry_point import entry_point


@entry_point
def main(argv: list[str] | None = None) -> None:
    """Write the table, which stage clean and the page read."""
    parser = argparse.ArgumentParser(prog="memtrack import", description=__doc__)
    parser.add_argument("program", choices=("label-studio",))
    parser.add_argument("variant", help="a key under variants: in params.yaml")
    parser.add_argument("file", type=Path, help="what Label Studio exports as JSON (not JSON-MIN)")
    parser.add_argument("--to", type=Path, default=None, metavar="CSV", help="default: decisions/VARIANT.csv")
    parser.add_argument("--force", action="store_true", help="replace the table if it is there")
    chosen = parser.parse_args(argv)
    path = chosen.to or Path("decisions") / f"{chosen.variant}.csv"
    if path.exists() and not chosen.force:
        raise InputError([Problem(path, message="is there already: name another file with --to, or --force")])
    params = load_variant(chosen.variant)
    variant = VariantData(chosen.variant, PreparedData.current(params.data))
    decisions = exported_decisions(chosen.file, variant)
    write_decisions(path, variant, decisions)
    counts = Counter(decision.what for decision in decisions.values())
    words = ", ".join(f"{number} {what}" for what, number in counts.most_common()) or "none"
    print(f"{path}: {len(decisions)} decisions ({words})")


if __name__ == "__main__":
    main()
