"""The benchmark of what decides about curvature: its sweeps, its tables, and that it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.papers import what_matters
from memtrack.core.recording.curvature import curvature


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small version: 60 images of ten classes, each bright in another place."""
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 1)):
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 60, (8, 8, 3), dtype=np.uint8)
                pixels[label % 8, label // 8 :: 2] = 255
                Image.fromarray(pixels).save(folder / split / str(label) / f"{number}.png")
    return ["--images", str(folder), "--size", "8", "--count", "60", "--judged", "24", "--network", "small",
            "--width", "2", "--epochs", "2", "--batch", "16", "--noise", "0.2"]  # fmt: skip


def test_sweeps_and_tables(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_matters, "PROBES", 3)
    monkeypatch.setattr(what_matters, "SCALES", (0.01, 0.03))
    monkeypatch.setattr(what_matters, "FEW", 1)
    what_matters.main([str(tmp_path), *arguments])
    options = what_matters.options_from([str(tmp_path), *arguments])
    data = what_matters.Data(options)
    assert data.corrupted.sum() == 12
    model = what_matters.network(options, 3)
    model.load_state_dict(torch.load(tmp_path / "checkpoints/epoch_0002.pt", weights_only=True))
    kept = np.load(tmp_path / "sweeps/float32_n3_h2/epoch_0002.npz")
    for n in (1, 3):
        exact = curvature(model, data.inputs[data.judged], data.labels[data.judged],
                          scale=0.03, probes=n, epoch=2)  # fmt: skip
        np.testing.assert_allclose(kept["h=0.03"][:n].mean(0), exact, rtol=1e-3)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["table"].split(",")[0] for row in rows} >= {
        "By epoch (n = 1)",
        "Which epochs",
        "n at h = 0.01",
    }


def test_it_goes_on(arguments: list[str], tmp_path: Path) -> None:
    """A training that was stopped after its first epoch ends with the same weights."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    what_matters.main([str(whole), *arguments, "--minutes", "0"])
    assert not list((whole / "sweeps").glob("*/*"))
    options = what_matters.options_from([str(stopped), *arguments])
    data = what_matters.Data(options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(what_matters, "Progress", FirstOnly)
        what_matters.train(data, options)
    what_matters.train(data, options)
    last = [torch.load(work / "checkpoints/epoch_0002.pt", weights_only=True) for work in (whole, stopped)]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])


class FirstOnly(what_matters.Progress):  # type: ignore[type-arg]
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(list(self.items)[:1])


def test_weighted_ranks() -> None:
    """Two epochs of three samples: only the first epoch has any loss left."""
    values, loss = np.array([[1.0, 3.0, 2.0], [9.0, 7.0, 8.0]]), np.array([4.0, 0.0])
    found = what_matters.COMBINED["ranks, weighted by the root of the loss"](values, loss)
    np.testing.assert_array_equal(found, [2, 6, 4])
