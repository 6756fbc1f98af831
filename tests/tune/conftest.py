"""Parameters of a search, with some keys changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memtrack.io.params import Params, TuneParams
from memtrack.tune.space import Space

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.2}},
    "train": {
        "epochs": 12, "model": {"kind": "cnn"}, "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 2}},
    "curvature": {"perturbation_scale": 0.03, "probes": 2},
}  # fmt: skip


@pytest.fixture
def space() -> Callable[..., Space]:
    """A space of the section `tune` that is given."""

    def make(**tune: Any) -> Space:
        return Space(Params.model_validate(CONTENT), TuneParams.model_validate(tune))

    return make
