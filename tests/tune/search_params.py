"""The other parameters of the searches that are tested."""

from __future__ import annotations

from typing import Any

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.2}},
    "train": {
        "epochs": 12, "model": {"kind": "cnn"}, "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 2}},
    "curvature": {"perturbation_scale": 0.03, "probes": 2},
}  # fmt: skip
