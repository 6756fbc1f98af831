"""Fingerprints change with every cause of a result, and with nothing else."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.config.sections.data import Digits, ImageFolder
from memtrack.config.sections.variants import NoNoise
from memtrack.data.corruption import write_variant
from memtrack.data.manifest import MANIFEST, KeptFolder, write_manifest
from memtrack.data.preparation import write_prepared
from memtrack.data.prepared import PreparedData
from memtrack.data.sources import Collected, collect
from memtrack.data.variants import VariantData
from memtrack.runs import fingerprint
from memtrack.runs.causes import training_causes
from memtrack.runs.fingerprint import Fingerprint, recording_fingerprint, training_fingerprint

Picture = Callable[..., Path]
CPU = torch.device("cpu")
PARAMS: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"clean": {"kind": "none", "labels": "data/prepared"}},
    "train": {
        "epochs": 10,
        "batch_size": 32,
        "seed": 3,
        "model": {"kind": "cnn", "width": 8, "depth": 2, "dropout": 0.25},
        "optimizer": {
            "kind": "sgd",
            "lr": 0.05,
            "momentum": 0.8,
            "nesterov": True,
            "weight_decay": 0.125,
        },
        "schedule": {"kind": "step", "milestones": [4, 8], "factor": 0.5},
        "augment": {
            "crop": 2,
            "flip": True,
            "transforms": [{"name": "RandomInvert"}, {"name": "RandAugment", "num_ops": 1}],
        },
        "precision": "float32",
        "compile": False,
        "deterministic": True,
        "loss": {"kind": "cross_entropy", "label_smoothing": 0.125},
        "mixup": 0.25,
        "average": 0.75,
        "sam": 0.125,
    },
    "record": {"epochs": {"kind": "every"}},
    "curvature": {"perturbation_scale": 0.1, "probes": 2},
}
PRETRAINED: dict[str, Any] = {"input_size": 64, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2],
                              "train_layers": 2, "backbone_lr": 0.5}  # fmt: skip
CHOICES: dict[str, list[dict[str, Any]]] = {
    "model": [{"kind": "mlp", "width": 8, "depth": 2, "dropout": 0.25},
              {"kind": "torchvision", "name": "resnet18", "small_stem": False, "weights": "DEFAULT",
               "weights_folder": None, **PRETRAINED},
              {"kind": "timm", "name": "resnet18", "options": {"drop_rate": 0.25}, "weights": "DEFAULT",
               "weights_folder": None, **PRETRAINED},
              {"kind": "python", "make": "nets.a:build", "options": {"width": 3}, "weights": "w.pth",
               **PRETRAINED}],
    "optimizer": [{"kind": "adamw", "lr": 0.05, "weight_decay": 0.125}],
    "schedule": [{"kind": "constant"}, {"kind": "cosine"}, {"kind": "one_cycle", "warmup": 0.25}],
    "loss": [{"kind": "symmetric_cross_entropy", "alpha": 0.25, "beta": 0.5},
             {"kind": "generalized_cross_entropy", "q": 0.5},
             {"kind": "early_learning", "weight": 2.0, "momentum": 0.5}],
}  # fmt: skip
"""The kinds of sections of `train` that PARAMS does not choose, with all their keys."""
CO_TRAINING: dict[str, Any] = {
    "co_training": {"kind": "jocor", "weight": 0.5, "forget_rate": 0.25, "warmup": 3},
    "loss": {"kind": "cross_entropy"}, "mixup": None,
}  # fmt: skip
"""What section `train` has in their place with two networks."""


def parameters(section: str | None = None, /, **changes: Any) -> Params:
    """PARAMS with other values in a section."""
    content = copy.deepcopy(PARAMS)
    if section is not None:
        content[section] |= changes
    return Params.model_validate(content)


def leaves(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no section, with the keys that lead to it."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def another(value: Any) -> Any:
    """A valid value unlike `value`."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * (1 + 2**-40)
        case [{"name": _}, *_]:
            return value[::-1]
        case [first, *rest]:
            return [another(first), *rest]
        case str():
            return {"resnet18": "resnet34", "DEFAULT": "IMAGENET1K_V1", "w.pth": "v.pth",
                    "nets.a:build": "nets.a:other", "float32": "bfloat16"}[value]  # fmt: skip
    raise AssertionError(f"no other value for {value!r}")


def each_changed(section: dict[str, Any], leave: set[tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    """The section with one value changed, for each value."""
    for keys, value in leaves(section):
        fixed = (
            value is None
            or keys[-1] in ("kind", "weights_folder")
            or (keys[-1], value) == ("small_stem", False)
        )
        if keys not in leave and not fixed:
            changed = copy.deepcopy(section)
            inner = changed
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = another(value)
            yield changed


def recorded_by(params: Params, training: str = "one") -> Fingerprint:
    """Of a recording of the networks of some training."""
    return recording_fingerprint(params, Fingerprint(causes={"training": training}))


def write_data(pixels: np.ndarray, labels: list[str]) -> None:
    """Six training and two test samples, made afresh, and a variant `clean` of them."""
    shutil.rmtree("data", ignore_errors=True)
    names, splits = [f"s{i}" for i in range(8)], ["train"] * 6 + ["test"] * 2
    collected = Collected(names, labels, splits, ("a", "b"), pixels)
    write_prepared(collected, Digits(kind="digits", root="data/raw"), Path("data/prepared"))
    write_variant("clean", NoNoise(kind="none", labels="data/prepared"), PreparedData())


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 1, 4, 4), dtype=np.uint8)


LABELS = ["a", "b"] * 4


def key(params: Params | None = None, device: torch.device = CPU) -> str:
    """Of the training on the data that is there."""
    return training_fingerprint(
        params or parameters(), PreparedData(), VariantData("clean", PreparedData()), device
    ).key


@pytest.fixture
def data() -> None:
    write_data(pixels(), LABELS)


# --- of a training ------------------------------------------------------------------------------


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights and the code of networks need not be there, nor timm."""
    monkeypatch.setattr(fingerprint, "weights_cause", lambda _: {})
    monkeypatch.setattr(fingerprint, "package_versions", lambda _: ["all the same"])
    monkeypatch.setattr("memtrack.runs.causes.own_code", lambda _: None)


def kinds(section: str) -> list[Any]:
    """The choices that params.py offers for a section of `train`."""
    annotation: Any = Params.model_fields["train"].annotation
    return list(annotation.model_fields[section].annotation.__args__)


def test_the_sections_here_have_every_field() -> None:
    for name, others in CHOICES.items():
        here = {choice["kind"]: set(choice) for choice in [PARAMS["train"][name], *others]}
        there = {model.model_fields["kind"].annotation.__args__[0]: set(model.model_fields)
                 for model in kinds(name)}  # fmt: skip
        assert here == there
    whole = parameters().train.model_dump(mode="json")
    assert set(whole) == set(PARAMS["train"]) | {"workers", "device", "co_training"}
    assert set(whole["augment"]) == set(PARAMS["train"]["augment"])


@pytest.mark.usefixtures("data", "no_networks")
def test_every_training_parameter_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "code_hash", lambda *_: "the same")  # it takes longest
    data, variant = PreparedData(), VariantData("clean", PreparedData())
    sections = [PARAMS["train"]]
    for name, choices in CHOICES.items():
        sections += [PARAMS["train"] | {name: choice} for choice in choices]
    sections.append(PARAMS["train"] | CO_TRAINING)
    tried: dict[str, dict[str, Any]] = {}
    for section in sections:
        for changed in [section, *each_changed(section, leave=set())]:
            params = parameters("train", **changed)
            found = training_fingerprint(params, data, variant, CPU).key
            assert tried.setdefault(found, changed) == changed
    assert len(tried) > 80


@pytest.mark.usefixtures("data")
def test_options_that_are_off_are_no_cause() -> None:
    """What was trained before there were such options is still what these parameters ask for."""
    plain = parameters("train", loss={"kind": "cross_entropy"}, mixup=None, average=None, sam=None)
    causes = training_causes(plain, VariantData("clean", PreparedData()))
    assert set(causes["train"]) == {"epochs", "batch_size", "seed", "model", "optimizer", "schedule",
                                    "augment", "precision", "compile", "deterministic"}  # fmt: skip


@pytest.mark.usefixtures("data", "no_networks")
def test_where_weights_lie_does_not_count() -> None:
    model = CHOICES["model"][1]
    assert key(parameters("train", model=model | {"weights_folder": "w"})) == key(
        parameters("train", model=model)
    )


@pytest.mark.usefixtures("data")
def test_nothing_but_the_recipe_counts() -> None:
    same = [
        parameters("train", workers=5),
        parameters("train", device="cpu"),
        parameters("record", epochs={"kind": "list", "epochs": [3]}),
        parameters("record", batch_size=7, checkpoints="recorded", precision="bfloat16", compile=True),
        parameters("curvature", method="central", perturbation_scale=1.0, probes=9, norm="squared", seed=9),
        Params.model_validate(PARAMS | {"evaluate": {"bootstrap": 77, "confidence": 0.5, "seed": 8}}),
        Params.model_validate(PARAMS | {"tracking": {"uri": "http://127.0.0.1:1", "experiment": "else"}}),
        Params.model_validate(PARAMS | {"variants": PARAMS["variants"] | {"more": {
            "kind": "symmetric", "labels": "data/prepared", "rate": 0.5}}}),
    ]  # fmt: skip
    assert {key(params) for params in same} == {key()}


@pytest.mark.usefixtures("data")
def test_the_kind_of_device_and_the_version_of_torch_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key(device=torch.device("cuda")) != key()
    assert key(device=torch.device("cuda", 1)) == key(device=torch.device("cuda"))
    before = key()
    monkeypatch.setattr(torch, "__version__", "2.99")
    assert key() != before


def test_each_pixel_and_each_label_counts() -> None:
    keys = set()
    write_data(pixels(), LABELS)
    before = key()
    for index in range(8):
        changed = pixels()
        changed[index, 0, 3, 1] ^= 1
        write_data(changed, LABELS)
        keys.add(key())
        labels = [{"a": "b", "b": "a"}[name] if i == index else name for i, name in enumerate(LABELS)]
        write_data(pixels(), labels)
        keys.add(key())
    write_data(pixels(), LABELS)
    assert key() == before
    assert len(keys | {before}) == 17


@pytest.mark.usefixtures("data")
def test_given_labels_count() -> None:
    before = key()
    table = Path("data/variants/clean/labels.csv")
    lines = table.read_text().splitlines()
    lines[3] = "s2,2,a,b,1,"
    table.write_text("\n".join(lines) + "\n")
    write_manifest(table.parent, KeptFolder(table.parent, "").made_from)
    assert key() != before


@pytest.mark.usefixtures("data")
def test_labels_made_with_other_parameters_are_refused() -> None:
    key()
    content = copy.deepcopy(PARAMS)
    content["variants"]["clean"] = {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}
    with pytest.raises(InputError, match=r"was None when .* run `dvc repro train@clean`"):
        key(Params.model_validate(content))


def test_a_pixel_of_an_image_file_counts(picture: Picture) -> None:
    draw = np.random.default_rng(0)
    drawn = {f"photos/{name}/{i}.png": draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
             for name in "ab" for i in range(4)}  # fmt: skip

    def made() -> str:
        shutil.rmtree("data", ignore_errors=True)
        params = ImageFolder(kind="image_folder", root="photos", image_size=8)
        write_prepared(collect(params), params, Path("data/prepared"))
        write_variant("clean", NoNoise(kind="none", labels="data/prepared"), PreparedData())
        return key()

    for path, image in drawn.items():
        picture(path, image)
    before = made()
    assert made() == before
    one = drawn["photos/b/2.png"]
    one[5, 5, 1] ^= 1
    picture("photos/b/2.png", one)
    assert made() != before


# --- of a recording -----------------------------------------------------------------------------


def test_every_parameter_of_the_recording_counts() -> None:
    section = parameters().curvature.model_dump(mode="json")
    changed = [section, *each_changed(section, {("method",), ("norm",)})]
    changed += [
        section | {"norm": "squared"},
        section | {"method": "central"},
        section | {"method": "hessian"},
    ]
    assert len(changed) == 1 + len(section) + 1  # each one once, and one of three methods more
    found = [recorded_by(parameters("curvature", **one)) for one in changed]
    found += [recorded_by(parameters("record", precision="bfloat16")),
              recorded_by(parameters("record", compile=True))]  # fmt: skip
    assert len({one.key for one in found}) == len(found)


def test_the_training_that_is_recorded_counts() -> None:
    assert recorded_by(parameters(), "one").key != recorded_by(parameters(), "other").key


def test_nothing_but_the_measurement_counts() -> None:
    same = [
        parameters("record", epochs={"kind": "list", "epochs": [3]}),
        parameters("record", epochs={"kind": "first", "count": 2}),
        parameters("record", epochs={"kind": "geometric"}),
        parameters("record", batch_size=7),
        parameters("record", checkpoints="recorded"),
        parameters("train", workers=5),
        Params.model_validate(PARAMS | {"evaluate": {"bootstrap": 77, "confidence": 0.5, "seed": 8}}),
        Params.model_validate(PARAMS | {"tracking": {"uri": "http://127.0.0.1:1"}}),
    ]
    assert {recorded_by(params).key for params in same} == {recorded_by(parameters()).key}


# --- on disk ------------------------------------------------------------------------------------

CAUSES = {"train": {"lr": 0.1 + 0.2, "milestones": [1, 2], "name": "\u00e9"}, "none": None, "yes": True}


def test_a_fingerprint_matches_what_it_wrote_and_no_other() -> None:
    whole = Fingerprint(causes=CAUSES)
    path = Path("there")
    path.mkdir()
    assert not whole.matches(path)
    write_manifest(path, whole.causes)
    assert whole.matches(path)
    assert Fingerprint(causes=dict(reversed(CAUSES.items()))).matches(path)
    others: list[dict[str, Any]] = [
        {},
        CAUSES | {"more": None},
        CAUSES | {"train": {"lr": 0.3, "milestones": [1, 2], "name": "\u00e9"}},
        CAUSES | {"train": {"lr": 0.1 + 0.2, "milestones": [2, 1], "name": "\u00e9"}},
        {name: value for name, value in CAUSES.items() if name != "none"},
    ]
    for causes in others:
        other = Fingerprint(causes=causes)
        assert not other.matches(path)
        assert other.key != whole.key
    assert Fingerprint(causes=dict(reversed(CAUSES.items()))).key == whole.key


@pytest.mark.usefixtures("data", "no_networks")
def test_fingerprints_of_every_parameter_file_come_back() -> None:
    """None holds what JSON changes, a tuple for example."""
    for name, choices in CHOICES.items():
        for choice in [PARAMS["train"][name], *choices]:
            params = parameters("train", **{name: choice})
            found = training_fingerprint(params, PreparedData(), VariantData("clean", PreparedData()), CPU)
            for one in (found, recorded_by(params)):
                write_manifest(Path("data"), one.causes, {})
                assert one.matches(Path("data"))
                assert KeptFolder(Path("data"), "").made_from == one.causes


def test_a_broken_file_matches_nothing() -> None:
    folder = Path("one")
    path = folder / MANIFEST
    folder.mkdir()
    for causes in ({}, CAUSES):
        whole = Fingerprint(causes=causes)
        write_manifest(folder, whole.causes)
        text = path.read_bytes().rstrip()
        for length in range(len(text)):
            path.write_bytes(text[:length])
            assert not whole.matches(folder)
        for broken in (b"[]", b"3", b'"causes"', b"null", b"\xff\xfe", b"{}"):
            path.write_bytes(broken)
            assert not whole.matches(folder)
