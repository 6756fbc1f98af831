"""`memtrack evaluate FOLDER`: judge what a Recorder wrote in a training loop of your own.

Writes the scores of all samples, the most suspect one first, with pictures and the page to decide on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from memtrack.terminal.entry_point import entry_point


@entry_point
def main(argv: list[str] | None = None) -> None:
    """Evaluate the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="memtrack evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of a memtrack.Recorder")
    parser.add_argument(
        "--corrupted",
        type=Path,
        metavar="FILE",
        help="a table with the columns id and corrupted (1 or 0), and perhaps clean_label: adds AUROCs",
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: FOLDER/evaluation")
    parser.add_argument("--confidence", type=float, default=0.95, help="level of the intervals (0.95)")
    parser.add_argument("--no-page", action="store_true", help="do not write index.html")
    options = parser.parse_args(argv)
    if not 0 < options.confidence < 1:
        parser.error("--confidence should be between 0 and 1")

    from memtrack.integrations.evaluation import evaluate  # takes seconds

    evaluate(
        options.folder, options.to, options.corrupted, confidence=options.confidence, page=not options.no_page
    )


if __name__ == "__main__":
    main()
