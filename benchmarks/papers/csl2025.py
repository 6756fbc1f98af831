"""Ravikumar et al., ICML 2025 (CSL), Table 3: which score finds copies under another label?

Table 2 has the same trainings as `benchmarks.papers.garg2024`, which shows its scores.

    python -m benchmarks.papers.csl2025 WORK --images FOLDER --device cuda
"""

from __future__ import annotations

from benchmarks.papers.protocol import Numbers, Protocol, beside, command

VARIANT = "duplicates250"
PUBLISHED = {
    "csl": ("cumulative sample loss", 0.9821),
    "curvature": ("curvature, h = 0.001, n = 10", 0.9536),
    "inconfidence": ("1 - p_y at the end", 0.9237),
    "first_learned": ("learning time, threshold", 0.7029),
    "ssft": ("second-split forgetting", 0.8490),
    "confident_learning": ("confident learning, 3 folds", 0.5533),
    "curvature_weighted": ("curvature, weighted ranks", None),
    "aum": ("mean margin", None),
    "el2n": ("EL2N", None),
    "input_gradient_norm": ("input-gradient norm", None),
}


def table(measured: Numbers) -> list[list[str]]:
    """AUROC by score."""
    rows = [["score", "AUROC, published / measured"]]
    for score, (title, number) in PUBLISHED.items():
        rows.append([title, beside(number, measured.get(VARIANT, {}).get(score))])
    return rows


PROTOCOL = Protocol(
    name="csl2025",
    title="Copies under another label: CSL's Table 3",
    source="CIFAR-10, ResNet-18, 250 copies under another label (Ravikumar et al., ICML 2025, Table 3).",
    cost="On an H100: as one share of wrong labels above.",
    table=table,
    note="memtrack counts the copies as wrong, and not their originals. Table 2 is the one above.",
)
main = command(PROTOCOL)

if __name__ == "__main__":
    main()
