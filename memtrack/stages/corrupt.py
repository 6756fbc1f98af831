"""Stage `corrupt`: write one variant of the labels, in data/variants/NAME."""

from __future__ import annotations

from memtrack.data.corruption import write_variant
from memtrack.data.prepared import PreparedData
from memtrack.stages import load_with_variant
from memtrack.terminal.entry_point import entry_point


@entry_point
def main() -> None:
    """Run the stage for the variant named on the command line."""
    params, name = load_with_variant(__doc__)
    data = PreparedData.current(params.data)
    summary = write_variant(name, params.variants[name], data)
    rate = getattr(params.variants[name], "rate", 0)
    left_out = data.info.train + summary.copies - summary.samples
    print(
        f"{name}: {summary.corrupted} of {summary.samples} labels corrupted ({summary.realized_rate:.2%})"
        + (f", {left_out} samples left out" if left_out else "")
    )
    if rate and not summary.corrupted:
        print(f"{name}: a rate of {rate} is less than one sample: no label is changed")
    for number, label in enumerate(summary.classes):
        if not any(row[number] for row in summary.transitions):
            print(f"{name}: no sample has the given label {label!r}: the network cannot learn this class")


if __name__ == "__main__":
    main()
