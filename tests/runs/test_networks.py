"""Networks that memory cannot hold are refused before anything is allocated; networks without logits, too."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.sections.record import RecordParams
from memtrack.config.sections.robust import JoCoR, RobustParams
from memtrack.config.sections.train import RecipeParams
from memtrack.data.prepared import DatasetInfo
from memtrack.runs.networks import check_memory, free_bytes, network

CPU = torch.device("cpu")
INFO = DatasetInfo(
    source="digits", classes=("a", "b"), shape=(1, 8, 8), mean=(0.5,), std=(0.5,),
    train=1000, test=10, unused=0, skipped=0, files=None,
)  # fmt: skip
MLP = {"kind": "mlp", "width": 16, "depth": 1}
WEIGHTS = 4 * (64 * 16 + 16 + 16 * 2 + 2)


def recipe(model: dict[str, Any] = MLP, **more: Any) -> RecipeParams:
    content: dict[str, Any] = {"epochs": 1, "batch_size": 64, "optimizer": {"kind": "sgd"}, **more}
    params = RecipeParams.model_validate({"model": model, "schedule": {"kind": "constant"}, **content})
    return placed(params, "train")


LARGE = {"kind": "mlp", "width": 16384, "depth": 16}
GIGABYTES = 4 * (64 * 16384 + 15 * 16384**2 + 16 * 16384 + 16384 * 2 + 2) / 1e9


def test_a_large_network_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrack.runs.networks.free_bytes", lambda device: 16_000_000_000)
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        network(recipe(LARGE).model, INFO)
    assert f"train.model: its weights alone take {GIGABYTES:.3g} GB" in str(caught.value)
    with pytest.raises(InputError) as caught:  # the weights would fit, with the optimizer they do not
        check_memory(recipe(LARGE), INFO, 1000, CPU, free=20_000_000_000)
    assert f"({3 * GIGABYTES:.3g} GB for the network and its optimizer" in str(caught.value)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("nn.Linear(64, 3)", "for 2 images the network returns (2, 3): it should return logits (2, 2)"),
        ("nn.LSTM(64, 2)", "for 2 images the network returns a tuple: it should return logits (2, 2)"),
        ("nn.Linear(64, 2), nn.Softmax(1)", "the network returns probabilities: it should return logits"),
        ("nn.Linear(64, 2), nn.LogSoftmax(1)", None),
    ],
)
def test_an_own_network_gives_logits(project: Path, end: str, said: str | None) -> None:
    code = f"from torch import nn\ndef build(shape, classes): return nn.Sequential(nn.Flatten(), {end})\n"
    Path("mine.py").write_text(code)
    model = recipe({"kind": "python", "make": "mine:build"}).model
    if said is None:
        network(model, INFO)
        return
    with pytest.raises(InputError) as caught:
        network(model, INFO)
    assert f"train.model.make: {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("optimizer", "copies"),  # the weights and their gradients, and the numbers that an optimizer keeps
    [
        ({"kind": "sgd", "momentum": 0.0, "nesterov": False}, 2),
        ({"kind": "sgd", "momentum": 0.9}, 3),
        ({"kind": "adamw"}, 4),
    ],
)
def test_the_least_memory_by_hand(optimizer: dict[str, Any], copies: int) -> None:
    params = recipe(optimizer=optimizer)
    needed = copies * WEIGHTS + 4 * 64 * (64 + 16)  # and the inputs of both layers for 64 images
    check_memory(params, INFO, 1000, CPU, free=needed)
    with pytest.raises(InputError, match=r"a training needs at least .* and cpu has .* free"):
        check_memory(params, INFO, 1000, CPU, free=needed - 1)


def test_the_memory_of_options_that_resist_wrong_labels() -> None:
    """The average and the weights before a step are one more copy each; two networks need all twice."""
    needed = 3 * WEIGHTS + 4 * 64 * (64 + 16)
    for robust, free in (
        (RobustParams(average=0.9), needed + WEIGHTS),
        (RobustParams(average=0.9, sam=0.1), needed + 2 * WEIGHTS),
        (RobustParams(co_training=JoCoR(kind="jocor")), 6 * WEIGHTS + 4 * 64 * (64 + 32)),
    ):
        with pytest.raises(InputError, match="a training needs at least"):
            check_memory(recipe(), INFO, 1000, CPU, robust=robust, free=free - 1)
        check_memory(recipe(), INFO, 1000, CPU, robust=robust, free=free + 10_000)


def test_the_memory_for_the_susceptibility() -> None:
    """Another network, its gradient and its momentum."""
    record = RecordParams.model_validate({"epochs": {"kind": "every"}, "susceptibility": True})
    needed = 6 * WEIGHTS + 4 * 64 * (64 + 16)
    check_memory(recipe(), INFO, 1000, CPU, record=record, free=needed)
    with pytest.raises(InputError, match="a training needs at least"):
        check_memory(recipe(), INFO, 1000, CPU, record=record, free=needed - 1)


def test_the_key_to_lower_is_named() -> None:
    with pytest.raises(InputError, match=r"train\.batch_size: .*for a batch of 1000 images.*lower it"):
        check_memory(recipe(batch_size=5000), INFO, 1000, CPU, free=50_000)
    with pytest.raises(InputError, match=r"train\.model: .*choose a smaller network"):
        check_memory(recipe(batch_size=2), INFO, 1000, CPU, free=1000)


def test_no_more_than_the_samples_count() -> None:
    check_memory(recipe(batch_size=1_000_000), INFO, 10, CPU, free=3 * WEIGHTS + 4 * 10 * 80)


def test_the_batches_of_the_sweep() -> None:
    record = placed(RecordParams.model_validate({"epochs": {"kind": "every"}, "batch_size": 1000}), "record")
    free = 3 * WEIGHTS + 4 * 64 * 80  # enough for the training
    check_memory(recipe(), INFO, 100, CPU, record=record, free=free)
    with pytest.raises(InputError, match=r"record\.batch_size: a sweep needs .* for 1000 images.*lower it"):
        check_memory(recipe(), INFO, 1000, CPU, record=record, free=free)


@pytest.mark.parametrize(("text", "limit"), [("12345\n", 12345), ("max\n", None), (None, None)])
def test_the_limit_of_a_container(
    text: str | None, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path("memory.max")
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr("memtrack.runs.networks.LIMITS", (str(file),))
    monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(free=0))
    found = free_bytes(CPU)
    assert found == limit if limit is not None else found > 1e8


def test_this_machine_has_memory() -> None:
    assert 1e8 < free_bytes(CPU) < 1e14
    check_memory(recipe(), INFO, 1000, CPU)
