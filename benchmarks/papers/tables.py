"""Write docs/papers.md: the published and the measured numbers side by side.

python -m benchmarks.papers.tables               # from benchmarks/results/papers
python -m benchmarks.papers.tables WORK/NAME ... # take over the numbers of these projects first
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from benchmarks.papers import arpit2017, csl2025, garg2024, zhang2017
from benchmarks.papers.protocol import MEASURED

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks/results/papers"
PAGE = REPOSITORY / "docs/papers.md"
PROTOCOLS = (garg2024.PROTOCOL, csl2025.PROTOCOL, zhang2017.PROTOCOL, arpit2017.PROTOCOL)
HEAD = """# Published numbers

Experiments of the literature, run with memtrack's own stages. The published settings are params files in
`benchmarks/papers/params/`. The command below each table runs them on a GPU; if it is interrupted, it goes on
where it was. FOLDER holds `train/CLASS/` and `test/CLASS/`. With `--small`, or if there is neither a GPU nor
`--images`, the same command runs on scikit-learn's digits with a small network, and says so.

What decides how well curvature finds wrong labels in a network that has fitted them:
[benchmarks](../benchmarks/README.md#what-decides-how-well-curvature-finds-wrong-labels).

Written by `python -m benchmarks.papers.tables`.
"""
NOT_RUN = "<!-- not run: it takes minutes to hours; tests/pipeline/test_papers.py runs a smaller version -->"
CURVES = """## Real data against noise

The learning curves of Zhang et al. (figure 1a), and the critical samples and the effect of dropout of Arpit
et al. (sections 4 and 5), with the small version: scikit-learn's digits, a CNN of width 16, 30 epochs, one
seed.

![Learning curves of real data and of noise](pictures/noise_curves.png)

Real images and images with shuffled pixels are fitted within 4 epochs. Gaussian noise, and pixels in an
order of their own for each image, take until the learning rate falls after epoch 18; random labels are
fitted to 81%. The share of critical samples falls to .38 with real images (.67 with shuffled pixels), and
is 1.00 with the other three. With dropout 0.5 the network fits 99% of the real labels and 39% of the random
ones.

    python -m benchmarks.papers.curves WORK --small --every 2 --keep
"""


def page(results: Path = RESULTS) -> str:
    """The content of docs/papers.md."""
    lines = [HEAD]
    for protocol in PROTOCOLS:
        file = results / f"{protocol.name}.json"
        kept = (
            json.loads(file.read_text()) if file.exists() else {"settings": "Not measured.", "measured": {}}
        )
        lines += protocol.markdown(kept["measured"], kept["settings"])
    return "\n".join([*lines, CURVES]).replace("\n    python -m", f"\n{NOT_RUN}\n\n    python -m")


def main() -> None:
    """Take over numbers, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", nargs="*", type=Path, help="WORK/NAME folders with results to keep")
    for project in parser.parse_args().projects:
        RESULTS.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / MEASURED, RESULTS / f"{project.resolve().name}.json")
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
