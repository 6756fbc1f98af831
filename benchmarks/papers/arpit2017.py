"""Arpit et al., ICML 2017: wrong labels are learned later, and the loss is more sensitive to them.

python -m benchmarks.papers.arpit2017 WORK --images FOLDER --device cuda
"""

from __future__ import annotations

from benchmarks.papers.protocol import Numbers, Protocol, beside, command

PUBLISHED = {
    "true_labels": ("true labels", None, None, "high: few samples have most of it"),
    "symmetric20": ("20% wrong", "later", "higher", None),
    "symmetric40": ("40% wrong", "later", "higher", None),
    "symmetric60": ("60% wrong", "later", "higher", None),
    "random_labels": ("random labels", None, None, "low: nearly all samples have it"),
}
COLUMNS = ("learning_time", "input_gradient_norm", "gini")


def table(measured: Numbers) -> list[list[str]]:
    """When wrong labels are learned, and how sensitive the loss is."""
    rows = [
        [
            "labels",
            "a wrong label is learned after a right one, share of pairs",
            "its loss sensitivity is higher, share of pairs",
            "Gini coefficient of loss sensitivity",
        ]
    ]
    for variant, (title, *published) in PUBLISHED.items():
        numbers = measured.get(variant, {})
        cells = [
            "" if said is None else beside(said, numbers.get(name))
            for said, name in zip(published, COLUMNS, strict=True)
        ]
        rows.append([title, *cells])
    return rows


PROTOCOL = Protocol(
    name="arpit2017",
    title="Noise is learned later: Arpit et al., ICML 2017",
    source="Their findings are curves; published / measured, where a share of pairs of 0.5 would be chance.",
    cost="On an H100: about 6 minutes for each of the five.",
    table=table,
    note="They take the L1 norm of the input gradient, memtrack the Euclidean norm.",
)
main = command(PROTOCOL)

if __name__ == "__main__":
    main()
