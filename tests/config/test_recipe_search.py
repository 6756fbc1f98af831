"""Section tune.recipe: what may be searched, and what is searched if nothing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.config.sections.recipe_search import PLACES, NumberRange, WholeRange, current, with_recipe

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.2}},
    "train": {
        "epochs": 12, "model": {"kind": "cnn"}, "optimizer": {"kind": "sgd", "lr": 0.08},
        "schedule": {"kind": "cosine"},
    },
    "record": {"epochs": {"kind": "every", "interval": 2}},
    "curvature": {"perturbation_scale": 0.03, "probes": 2},
}  # fmt: skip


def loaded(tmp_path: Path, recipe: Any, train: dict[str, Any] | None = None, **more: Any) -> Params:
    content = {**CONTENT, **more, "train": {**CONTENT["train"], **(train or {})}}
    content["tune"] = {"recipe": recipe}
    path = tmp_path / "params.yaml"
    YAML().dump(content, path)
    return params.load(path, tune=True)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"lss": ["early_learning"]}, "tune.recipe.lss: unknown key; did you mean 'loss'?"),
        ({"loss": ["early"]}, "tune.recipe.loss: .*: early: should be 'cross_entropy'"),
        ({"loss": []}, "tune.recipe.loss: .*: should be a list of choices"),
        ({"loss": {"low": 1, "high": 2}}, "tune.recipe.loss: should be a list of choices"),
        ({"dropout": 0.5}, r"tune.recipe.dropout: 0.5: should be a list of choices, or a range \{low"),
        ({"dropout": {"low": 0.1}}, "tune.recipe.dropout: should be a list of choices, or a range"),
        ({"dropout": [0.1, 1.0]}, "tune.recipe.dropout: .*: 1.0: should be less than 1"),
        ({"dropout": [0.1, 0.1]}, "tune.recipe.dropout: .*: names a choice twice"),
        ({"epochs": {"low": 9, "high": 9}}, "tune.recipe.epochs: low should be below high"),
        ({"epochs": [4.5]}, "tune.recipe.epochs: .*: 4.5: should be a valid integer"),
        ({"lr": {"low": 0, "high": 1}}, "tune.recipe.lr: 0: should be greater than 0"),
        ({"weight_decay": {"low": 0, "high": 1}}, "weight_decay is searched on a log scale: low should be"),
        ({"mixup": {"low": None, "high": 1}}, "tune.recipe.mixup: should be a list of choices, or a range"),
        ({"width": [2000]}, "tune.recipe.width: .*: 2000 does not fit train: should be less than or equal"),
        ({"trials": 0}, "tune.recipe.trials: 0: should be greater than or equal to 1"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        loaded(tmp_path, recipe)


@pytest.mark.parametrize(
    ("recipe", "train", "more", "said"),
    [
        ({"width": [8]}, {"model": {"kind": "torchvision"}}, {}, "kind is torchvision, which has no width"),
        ({"mixup": [1.0]}, {"co_training": {"kind": "jocor"}}, {}, "1.0 does not fit train: co_training"),
        ({"mixup": [1.0]}, {}, {"compute": {"processes": 2}}, r"1.0 does not fit train.mixup: is for whole"),
        ({"epochs": {"low": 4, "high": 9}}, {"schedule": {"kind": "step", "milestones": [8]}}, {},
         r"4 does not fit train.schedule.milestones: \[8\] are after the last epoch"),
        ({"epochs": [4]}, {}, {"record": {"epochs": {"kind": "list", "epochs": [2, 6]}}},
         "4 does not fit record.epochs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_other_sections_is_said(
    tmp_path: Path, recipe: dict[str, Any], train: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        loaded(tmp_path, recipe, train, **more)


def searched(found: Params) -> dict[str, Any]:
    return found.tune.recipe.searched(found.train, found.problems_with)


def test_a_key_that_is_left_out_is_not_searched(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"sam": [None, 0.05], "width": {"low": 8, "high": 16}})
    wanted = searched(found)
    assert wanted.keys() == {"width", "sam"}
    assert (wanted["width"].low, wanted["width"].high, wanted["sam"]) == (8, 16, (None, 0.05))


def test_without_a_key_what_fits_is_searched(tmp_path: Path) -> None:
    found = searched(loaded(tmp_path, {"trials": 3}))
    assert list(found) == ["loss", "dropout", "epochs", "lr", "mixup"]
    assert found["epochs"] == WholeRange(low=6, high=12)
    assert found["lr"] == NumberRange(low=0.02, high=0.16)
    train = {"model": {"kind": "torchvision"}, "co_training": {"kind": "jocor"}}
    assert list(searched(loaded(tmp_path, {}, train))) == ["epochs", "lr"]


def test_a_recipe_is_put_into_its_places(tmp_path: Path) -> None:
    train = loaded(tmp_path, {}).train
    values: dict[str, Any] = {
        "loss": "early_learning", "dropout": 0.3, "width": 8, "epochs": 5, "lr": 0.2, "weight_decay": 0.0,
        "mixup": 0.4, "average": 0.9, "sam": 0.1, "crop": 1, "flip": True,
    }  # fmt: skip
    assert values.keys() == PLACES.keys()
    changed = with_recipe(train, values)
    assert {key: current(changed, key) for key in PLACES} == values
    assert changed.optimizer.momentum == train.optimizer.momentum
    back = with_recipe(changed, {key: current(train, key) for key in PLACES})
    assert back.model_dump() == train.model_dump()


def test_the_loss_in_force_keeps_its_keys(tmp_path: Path) -> None:
    train = loaded(tmp_path, {}, {"loss": {"kind": "early_learning", "weight": 1.5}}).train
    assert with_recipe(train, {"loss": "early_learning"}).loss.weight == 1.5
