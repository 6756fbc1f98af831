"""A section knows where it stands in its file, wherever the process is by then."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrack.config.params import load

TEXT = (Path(__file__).parent / "files/valid/every_key.yaml").read_text(encoding="utf-8")


def line_of(*keys: str) -> int:
    """The line of a key, each searched after the one around it."""
    found = 0
    for depth, key in enumerate(keys):
        lines = enumerate(TEXT.splitlines()[found:], found + 1)
        found = next(number for number, line in lines if line.startswith(f"{'  ' * depth}{key}:"))
    return found


def test_errors_name_the_line_of_the_file_that_was_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("params.yaml").write_text(TEXT)
    params = load()
    Path("params.yaml").write_text("# another file by now\n")
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    error = params.record.mistake("precision", message="is wrong")
    assert str(error) == f"params.yaml:{line_of('record', 'precision')}: record.precision: is wrong"


def test_sections_within_sections_and_entries_of_variants() -> None:
    Path("params.yaml").write_text(TEXT)
    params = load()
    where = line_of("train", "optimizer")
    assert str(params.train.optimizer.mistake(message="x")) == f"params.yaml:{where}: train.optimizer: x"
    for name, variant in params.variants.items():
        where = line_of("variants", name, "labels")
        assert (
            str(variant.mistake("labels", message="x")) == f"params.yaml:{where}: variants.{name}.labels: x"
        )


def test_another_seed_keeps_the_place() -> None:
    Path("params.yaml").write_text(TEXT)
    params = load()
    other = params.with_seed(77)
    assert (other.train.seed, other.curvature.seed) == (77, 77)
    assert other.train.model == params.train.model
    text = str(other.train.mistake("epochs", message="x"))
    assert text == f"params.yaml:{line_of('train', 'epochs')}: train.epochs: x"


def test_another_training_replaces_whole_keys_and_knows_its_place() -> None:
    own = "averaged: {variants: [noisy], trainings: [{seed: 77, optimizer: {kind: adamw}}, {batch_size: 3}]}"
    line = line_of("averaged")
    lines = TEXT.splitlines()
    Path("params.yaml").write_text("\n".join([*lines[: line - 1], own, *lines[line:]]))
    params = load()
    first, second = (params.with_training(changes) for changes in params.averaged.trainings)
    assert (first.train.seed, first.curvature.seed, first.train.epochs) == (77, 77, params.train.epochs)
    assert first.train.optimizer.model_dump() == {"kind": "adamw", "lr": 0.001, "weight_decay": 0.01}
    assert second.train.model_dump() == {**params.train.model_dump(), "batch_size": 3}
    assert second.curvature.seed == params.curvature.seed
    text = str(second.train.mistake("epochs", message="x"))
    assert text == f"params.yaml:{line}: averaged.trainings.1.epochs: x"


def test_a_section_that_is_left_out_names_the_file_alone() -> None:
    minimal = (Path(__file__).parent / "files/valid/minimal.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(minimal)
    assert str(load().compute.mistake("ray", message="x")) == "params.yaml:1: compute.ray: x"
