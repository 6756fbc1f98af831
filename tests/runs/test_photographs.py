"""Photographs in ImageNet's layout and a pretrained network, from the files to the scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from torchvision.models import shufflenet_v2_x0_5

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.core.training.models import build
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import DatasetInfo, PreparedData
from memtrack.data.sources import collect
from memtrack.data.variants import VariantData
from memtrack.report.evaluation import Evaluation
from memtrack.runs.trained_networks import nearest_by_pretrained
from memtrack.runs.training import train
from memtrack.stages.evaluate import evaluate
from memtrack.tracking.run import Run

CLASSES = ("n01440764", "n01443537")
NAME = "shufflenet_v2_x0_5"
NETWORK = {"kind": "torchvision", "name": NAME, "weights": "w.pth", "train_layers": "head",
           "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # fmt: skip
PARAMS = Params.model_validate({
    "data": {"kind": "image_folder", "root": "photographs", "train": "train", "test": "val",
             "image_size": 224},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": 1, "batch_size": 8,
        "model": NETWORK,
        "optimizer": {"kind": "adamw"}, "schedule": {"kind": "constant"},
    },
    "record": {"epochs": {"kind": "list", "epochs": [1]}, "batch_size": 8},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
    "suspects": {"pretrained": {**NETWORK, "train_layers": "all"}},
})  # fmt: skip


def draw_photographs() -> None:
    """12 and 3 pictures of each class, in several sizes, with other names in each split as in ImageNet."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3)):
        for number, name in enumerate(CLASSES):
            for index in range(count):
                coarse = draw.integers(0, 256, (4, 5, 3), dtype=np.uint8)
                coarse[..., number] = 255  # the classes have a colour
                size = (240 + 20 * (index % 3), 260 - 10 * (index % 4))
                path = Path("photographs", split, name, f"{name}_{split}{index}.JPEG")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(coarse).resize(size).save(path)


def prepared() -> DatasetInfo:
    """Photographs, weights, and a variant of the labels."""
    draw_photographs()
    torch.manual_seed(0)
    torch.save(build("torchvision", (3, 224, 224), 1000, name=NAME, small_stem=False).state_dict(), "w.pth")
    info, _ = write_prepared(collect(PARAMS.data), PARAMS.data, Path("data/prepared"))
    write_variant("noisy", PARAMS.variants["noisy"], PreparedData())
    return info


def test_from_the_files_to_the_scores(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Run, "model", lambda *_: None)
    monkeypatch.setattr(Evaluation, "_draw", lambda *_: None)
    shutil.copy(empty_store, "mlflow.db")
    info = prepared()
    assert (info.classes, info.shape, info.train, info.test) == (CLASSES, (3, 224, 224), 24, 6)
    train(PARAMS, "noisy", Path("results/train/noisy"))
    assert "input: 3x224x224, mean: [0.485, 0.456, 0.406]" in capsys.readouterr().out
    evaluate(PARAMS, "noisy", Path("results/train/noisy"), Path("results/evaluate/noisy"), "train@noisy")
    scores = pd.read_csv("results/evaluate/noisy/scores.csv")
    assert len(scores) == 24
    assert scores["id"].str.fullmatch(r"train/n\d+/n\d+_train\d+\.JPEG").all()
    assert np.isfinite(scores["curvature"]).all()
    assert scores["corrupted"].sum() == 6
    scores = scores.set_index("id").loc[VariantData("noisy", PreparedData()).ids]
    assert scores["neighbours_pretrained"].tolist() == pytest.approx(voted(scores["given_label"].to_numpy()))


def test_weights_that_are_not_finite_are_refused(project: Path) -> None:
    prepared()
    weights = torch.load("w.pth")
    weights["conv1.0.weight"] = weights["conv1.0.weight"] * float("nan")
    torch.save(weights, "w.pth")
    data = PreparedData()
    with pytest.raises(InputError, match="weights: give features that are not finite"):
        nearest_by_pretrained(PARAMS, data, VariantData("noisy", data), 5)


def voted(labels: NDArray[np.object_]) -> list[float]:
    """The share of the nearest training images, half as many as the median class has, with another label, by
    torchvision's network itself."""
    count = int(np.median(np.unique(labels, return_counts=True)[1])) // 2
    network = shufflenet_v2_x0_5()
    network.load_state_dict(torch.load("w.pth"))
    network.fc = torch.nn.Identity()
    variant = VariantData("noisy", PreparedData())
    images = torch.from_numpy(variant.read(range(len(labels)))) / 255
    mean, std = (torch.tensor(NETWORK[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        features = network.eval()((images - mean) / std).numpy()
    search = NearestNeighbors(n_neighbors=count + 1, metric="cosine").fit(features - features.mean(axis=0))
    rows = search.kneighbors(return_distance=False)[:, :count]
    return (labels[rows] != labels[:, None]).mean(axis=1).tolist()
