"""Garg et al., ICML 2024: curvature finds wrong labels; beside it the scores of CSL's Table 2.

python -m benchmarks.papers.garg2024 WORK --images FOLDER --device cuda
"""

from __future__ import annotations

from benchmarks.papers.protocol import Numbers, Protocol, beside, command

VARIANTS = {"symmetric1": "1%", "symmetric2": "2%", "symmetric5": "5%", "symmetric10": "10%"}
PUBLISHED = {
    "curvature": ("curvature, h = 0.001, n = 10", (0.9715, 0.9776, 0.9800, 0.9819)),
    "csl": ("cumulative sample loss", (0.9845, 0.9864, 0.9870, 0.9869)),
    "inconfidence": ("1 - p_y at the end", (0.8781, 0.8072, 0.7254, 0.6528)),
    "first_learned": ("learning time, threshold", (0.4951, 0.4954, 0.4911, 0.4948)),
    "ssft": ("second-split forgetting", (0.9626, 0.9551, 0.9498, 0.9360)),
    "confident_learning": ("confident learning, 3 folds", (0.8651, 0.8905, 0.8874, 0.8551)),
    "curvature_weighted": ("curvature, weighted ranks", (None,) * 4),
    "aum": ("mean margin", (None,) * 4),
    "el2n": ("EL2N", (None,) * 4),
    "input_gradient_norm": ("input-gradient norm", (None,) * 4),
}


def table(measured: Numbers) -> list[list[str]]:
    """AUROC by score and share of wrong labels."""
    rows = [["AUROC, published / measured", *VARIANTS.values()]]
    for score, (title, numbers) in PUBLISHED.items():
        cells = [
            beside(number, measured.get(variant, {}).get(score))
            for variant, number in zip(VARIANTS, numbers, strict=True)
        ]
        rows.append([title, *cells])
    return rows


PROTOCOL = Protocol(
    name="garg2024",
    title="Wrong labels: Garg et al., ICML 2024, and CSL's Table 2",
    source="CIFAR-10, ResNet-18, symmetric noise; numbers from Ravikumar et al., ICML 2025, Table 2.",
    cost="On an H100 a training takes about 10 minutes for each share of wrong labels, and a sweep with "
    "n = 10 one minute in float32, which h = 0.001 needs. So one share (`--only symmetric10`) with "
    "`--every 5` fits into an hour; with every epoch it takes 3.7 hours.",
    table=table,
    note="Second-split forgetting and confident learning are no scores of memtrack.",
)
main = command(PROTOCOL)

if __name__ == "__main__":
    main()
