"""A recorder that is given the networks of a training of the pipeline finds what the pipeline found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from prepared_noise import prepare_noise, project_in

from memtrack import Recorder
from memtrack.config.params import Params
from memtrack.core.scores import SCORES, Need, compute
from memtrack.core.scores.suspicion import kinds, suggested_labels
from memtrack.data.batches import variant_batches
from memtrack.data.corruption import write_variant
from memtrack.data.variants import VariantData
from memtrack.runs.trained import TrainedRun
from memtrack.runs.training import train

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": 3, "batch_size": 8, "model": {"kind": "mlp", "width": 8},
        "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 1}, "batch_size": 16},
    "curvature": {"perturbation_scale": 0.1, "probes": 2},
}  # fmt: skip


def test_scores_suggestions_and_kinds(tmp_path: Path, empty_store: Path) -> None:
    with project_in(tmp_path, empty_store):
        params, data = Params.model_validate(CONTENT), prepare_noise(80, side=4)
        write_variant("noisy", params.variants["noisy"], data)
        results = Path("results/train/noisy")
        train(params, "noisy", results)
        variant = VariantData("noisy", data)
        run = TrainedRun(params, data, variant, results, "train@noisy")
        evidence = run.evidence(SCORES)
        batches = list(variant_batches(data, variant, batch_size=16, device=torch.device("cpu"), workers=0))
        inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        recorder = Recorder((inputs, labels), "recorded", ids=variant.ids, scale=0.1, probes=2, batch_size=16)
        for epoch in run.trajectory.epochs:
            recorder.after_epoch(evidence[Need.NETWORKS].model(epoch), epoch)
        table = recorder.scores()
        names = [name for name, score in SCORES.items() if score.by_default]
        assert names == [name for name in names if name in table]
        for name in names:
            np.testing.assert_allclose(table[name], compute(name, evidence), rtol=1e-5, err_msg=name)
        epochs, near = evidence[Need.EPOCHS], evidence[Need.NEIGHBOURS]
        assert table["suggested_label"].tolist() == suggested_labels(epochs, near, classes=2)[0].tolist()
        assert table["kind"].tolist() == kinds(epochs, near, classes=2).tolist()
