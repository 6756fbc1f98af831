"""How much a last layer alone memorizes: linear classifiers on features that stay as they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from memtrack.core.memorization.estimates import Counts
from memtrack.core.memorization.subsets import subset

SHARE = 0.7
"""The share of the samples that each classifier is trained on: that of Feldman & Zhang."""


def linear_memorization(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    numbers: Iterable[int],
    *,
    share: float = SHARE,
    seed: int = 0,
) -> Counts:
    """Count how often linear classifiers trained on random subsets give each sample its label; their
    `memorization` is the mem of a last layer.

    The classifiers are scikit-learn's logistic regressions with C = 1, on features with mean 0 and variance 1
    over the subset.

    Args:
        features: of the samples in a network, (N, features).
        labels: of the samples, (N,).
        numbers: of the classifiers; the subset of each follows from (seed, number).
        share: of the samples in a subset.

    Source: Feldman & Zhang, "What neural networks memorize and why", NeurIPS 2020, the experiment that asks
    whether the last layer suffices for memorization. Their features are those of a network that was trained
    on all samples.
    """
    counts = Counts(len(labels))
    for number in numbers:
        members = subset(len(labels), number, share=share, seed=seed)
        known = np.unique(labels[members])
        if len(known) == 1:
            right = labels == known[0]
        else:
            classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            classifier.fit(features[members], labels[members])
            right = classifier.predict(features) == labels
        counts.add(members[None], right[None])
    return counts
