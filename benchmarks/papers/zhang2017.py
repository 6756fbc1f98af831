"""Zhang et al., ICLR 2017: a network fits random labels, and images without structure.

python -m benchmarks.papers.zhang2017 WORK --images FOLDER --device cuda
"""

from __future__ import annotations

from benchmarks.papers.protocol import Numbers, Protocol, beside, command

PUBLISHED = {
    "true_labels": ("true labels", 1.0, 0.8575),
    "random_labels": ("random labels", 1.0, 0.0978),
    "shuffled_pixels": ("shuffled pixels, one permutation for all", 1.0, None),
    "random_pixels": ("random pixels, a permutation for each", 1.0, None),
    "gaussian": ("Gaussian noise instead of images", 1.0, None),
}


def table(measured: Numbers) -> list[list[str]]:
    """Accuracies by variant."""
    rows = [
        [
            "images and labels",
            "training accuracy, published / measured",
            "test accuracy, published / measured",
        ]
    ]
    for variant, (title, train, test) in PUBLISHED.items():
        numbers = measured.get(variant, {})
        cells = beside(train, numbers.get("train_accuracy")), beside(test, numbers.get("test_accuracy"))
        rows.append([title, *cells])
    return rows


PROTOCOL = Protocol(
    name="zhang2017",
    title="Everything can be fitted: Zhang et al., ICLR 2017",
    source="CIFAR-10, no augmentation, no weight decay; published for a small Inception (fig. 1a, table 1).",
    cost="On an H100: about 5 minutes for each of the five.",
    table=table,
    note="The network here is ResNet-18.",
)
main = command(PROTOCOL)

if __name__ == "__main__":
    main()
