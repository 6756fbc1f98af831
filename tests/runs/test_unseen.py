"""The features of samples in networks that were never trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from prepared_noise import prepare_noise

from memtrack.config import params
from memtrack.data.corruption import write_variant
from memtrack.data.variants import VariantData
from memtrack.runs import unseen
from memtrack.runs.halves import halves_of
from memtrack.runs.unseen import unseen_features

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": 2, "batch_size": 8, "model": {"kind": "mlp", "width": 16, "depth": 1},
        "optimizer": {"kind": "sgd", "lr": 0.5}, "schedule": {"kind": "cosine"}, "seed": 4,
    },
    "record": {"epochs": {"kind": "every"}},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip


def test_the_labels_of_a_half_do_not_reach_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(CONTENT))
    chosen, data = params.load(), prepare_noise(50, side=4)
    write_variant("noisy", chosen.variants["noisy"], data)
    variant, cpu = VariantData("noisy", data), torch.device("cpu")
    halves = halves_of(variant, 4)
    found = list(unseen_features(chosen, data, variant, cpu))
    assert [rows.tolist() for rows, _ in found] == [halves[1].tolist(), halves[0].tolist()]
    assert all(features.shape == (40, 16) for _, features in found)
    monkeypatch.setattr(unseen, "halves_of", lambda *_: halves)
    for number, half in enumerate(halves):  # the network with this number is trained on it
        labels = variant.given.copy()
        labels[half] = labels[half][::-1]
        changed = list(unseen_features(chosen, data, variant.flipped(labels), cpu))
        assert not np.array_equal(changed[number][1], found[number][1])
        np.testing.assert_array_equal(changed[1 - number][1], found[1 - number][1])
