"""scikit-learn's digits: 1,797 scans of handwritten digits, 8x8 pixels, 17 grey levels."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from memtrack.config.sections.data import Digits
from memtrack.data.decoding import channels_first
from memtrack.data.sources.collected import Collected


def collect(params: Digits) -> Collected:
    """All digits; the id is the position in scikit-learn's order."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return Collected(
        ids=[str(number) for number in range(len(images))],
        labels=[str(label) for label in digits.target],
        splits=None,
        classes=tuple(str(name) for name in digits.target_names),
        images=channels_first(images),
    )
