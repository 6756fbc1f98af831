"""What is recorded for every sample in every recorded epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUANTITIES: dict[str, type[np.generic]] = {
    "loss": np.float32,
    "probability": np.float32,
    "margin": np.float32,
    "correct": np.float32,
    "predicted": np.int32,
    "error_norm": np.float32,
    "input_gradient_norm": np.float32,
    "curvature": np.float32,
}
"""The quantities and their types.

loss: cross-entropy of the given label, in nats. probability: softmax probability of the given label.
margin: its logit minus the largest other logit. correct: 1.0 where the prediction is the given label.
predicted: the class with the largest logit. error_norm: Euclidean norm of the softmax probabilities minus
the one-hot given label, 0 to sqrt 2. input_gradient_norm: Euclidean norm of the gradient of the loss
with respect to the normalized input. curvature: see `Estimator`.
"""
SampleArrays = dict[str, NDArray[np.generic]]
"""For each quantity, an array (N,), or (B,) for a batch."""
