"""A training in memory: the same numbers as those of a training whose results are kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prepared_noise import prepare_noise

from memtrack.config.params import Params
from memtrack.core.recording.trajectory import Trajectory
from memtrack.data.corruption import write_variant
from memtrack.data.variants import VariantData
from memtrack.runs.checkpoints import trained_checkpoints, trained_network
from memtrack.runs.light_training import LightTraining
from memtrack.runs.training import train
from memtrack.tracking.run import Run

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": 4, "batch_size": 8, "model": {"kind": "mlp", "width": 4, "depth": 1, "dropout": 0.2},
        "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
        "loss": {"kind": "early_learning"}, "mixup": 1.0, "average": 0.9,
    },
    "record": {"epochs": {"kind": "every", "interval": 2}, "batch_size": 16},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip


def test_it_is_the_training_of_the_stage(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "model", lambda *_: None)
    shutil.copy(empty_store, "mlflow.db")
    params, data = Params.model_validate(CONTENT), prepare_noise(40, side=2)
    write_variant("noisy", params.variants["noisy"], data)
    variant = VariantData("noisy", data)
    labels = 1 - variant.given
    light = LightTraining(params, data, variant.flipped(labels), torch.device("cpu"))
    assert list(light.run()) == [1, 2, 3, 4]
    results = Path("results/train/noisy")
    train(params, "noisy", results, labels=labels)
    kept = Trajectory(results / "trajectory")
    assert light.trajectory.epochs == kept.epochs == (2, 4)
    for name in light.trajectory.arrays:
        for epoch in kept.epochs:
            expected = kept.load(name, epoch)
            found = light.trajectory.load(name, epoch)
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    checkpoints = trained_checkpoints(params, variant.flipped(labels), results / "checkpoints", remedy="")
    model = trained_network(params.train, data.info, checkpoints, 2, remedy="")
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = variant.read(range(len(variant.ids))).astype(np.float32) / 255
    mean, std = (np.reshape(values, (1, 1, 1, 1)) for values in (data.info.mean, data.info.std))
    model.eval()(torch.tensor((pixels - mean) / std, dtype=torch.float32))
    np.testing.assert_allclose(light.features(2), seen[0].detach().numpy(), rtol=1e-4, atol=1e-5)
