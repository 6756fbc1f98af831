"""The transforms of train.augment: those that fit are made, and every mistake is said with its key."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torchvision.transforms import v2

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.config.sections.data import Digits
from memtrack.data.corruption import write_variant
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected
from memtrack.data.variants import VariantData
from memtrack.runs.fitting import Fitting
from memtrack.runs.transforms import chosen_transforms

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 6), dtype=np.uint8)
CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"clean": {"kind": "none", "labels": "data/prepared"}},
    "train": {
        "epochs": 3, "batch_size": 8, "model": {"kind": "cnn", "width": 4, "depth": 1, "dropout": 0.25},
        "optimizer": {"kind": "sgd"}, "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every"}},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip


@pytest.fixture
def data() -> PreparedData:
    """24 training and 6 test images of 8x6 pixels."""
    names = [f"s{number:02}" for number in range(30)]
    collected = Collected(names, ["a", "b"] * 15, ["train"] * 24 + ["test"] * 6, ("a", "b"), PIXELS)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    return PreparedData()


def chosen(*transforms: dict[str, Any], **train: Any) -> Params:
    """Read from a file, so that mistakes have their place in it."""
    content = CONTENT | {"train": CONTENT["train"] | train | {"augment": {"transforms": list(transforms)}}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    return params.load()


def test_none(data: PreparedData) -> None:
    assert chosen_transforms(chosen().train, data.info) is None


def test_options_and_order_are_those_of_the_file(data: PreparedData) -> None:
    asked = chosen(
        {"name": "RandomResizedCrop", "scale": [0.5, 1], "interpolation": "nearest"},
        {"name": "AutoAugment", "policy": "cifar10"},
        {"name": "RandomErasing", "p": 1.0},
        seed=4,
    )
    made = chosen_transforms(asked.train, data.info)
    assert made is not None
    mean = [round(255 * value) for value in data.info.mean]
    theirs = v2.Compose([
        v2.RandomResizedCrop((8, 6), scale=(0.5, 1), interpolation=v2.InterpolationMode.NEAREST),
        v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        v2.RandomErasing(1.0, value=mean),
    ])  # fmt: skip
    found = made(PIXELS[:5], np.arange(5), 2)
    for row in range(5):
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([4, 2, row]).generate_state(1)[0]))
            assert (theirs(torch.from_numpy(PIXELS[row])).numpy() == found[row]).all()


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"name": "RandAugment", "magnitud": 3},
     "magnitud: unknown option of RandAugment; did you mean 'magnitude'? (allowed: num_ops, magnitude, "),
    ({"name": "RandomResizedCrop", "size": 8}, "size: images keep their size, 8x6: leave it out"),
    ({"name": "RandomErasing", "inplace": True}, "inplace: unknown option of RandomErasing"),
    ({"name": "RandomPosterize"}, "bits: is missing: RandomPosterize requires it"),
    ({"name": "RandomAffine", "degrees": 5, "interpolation": "bicubi"},
     "interpolation: 'bicubi' is not one of its values; did you mean 'bicubic'?"),
    ({"name": "RandomErasing", "value": "random"}, "value: should be a pixel value from 0 to 255"),
    ({"name": "ColorJitter", "hue": 3}, "torchvision's ColorJitter cannot be used so: hue values should be"),
    ({"name": "RandomPosterize", "bits": 99, "p": 0.001},
     "torchvision's RandomPosterize cannot be used so: bits must be"),
    ({"name": "RandomResizedCrop", "scale": [1.0, 0.5]}, "cannot be used so: Scale and ratio should be"),
    ({"name": "RandomRotation", "degrees": 40, "expand": True},
     "RandomRotation turns images of 8x6 into "),
]  # fmt: skip


def test_every_mistake_is_said(data: PreparedData) -> None:
    with pytest.raises(InputError) as caught:
        chosen_transforms(
            chosen({"name": "RandomInvert"}, *(asked for asked, _ in MISTAKES)).train, data.info
        )
    said = str(caught.value).splitlines()
    assert len(said) == len(MISTAKES)
    for number, (line, (_, expected)) in enumerate(zip(said, MISTAKES, strict=True), 1):
        assert line.startswith("params.yaml:")
        assert f"train.augment.transforms.{number}" in line
        assert expected in line


def test_training_goes_on_with_the_same_images(data: PreparedData) -> None:
    """A training that resumes from a state takes the steps of one that was not interrupted."""
    asked = chosen({"name": "RandAugment"}, {"name": "RandomErasing"})
    write_variant("clean", asked.variants["clean"], data)

    def fitting(used: Params = asked) -> Fitting:
        return Fitting(used, data, VariantData("clean", data), CPU)

    def weights(trained: Fitting) -> list[bytes]:
        return [value.numpy().tobytes() for value in trained.model.state_dict().values()]

    whole = fitting()
    whole.run_epoch(1)
    again = fitting()
    again.load_state(copy.deepcopy(whole.state()))
    torch.manual_seed(99)
    for trained in whole, again:
        trained.run_epoch(2)
    assert weights(again) == weights(whole)
    plain = fitting(chosen())
    for epoch in (1, 2):
        plain.run_epoch(epoch)
    assert weights(plain) != weights(whole)
