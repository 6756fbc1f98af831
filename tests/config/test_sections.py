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


def test_a_section_that_is_left_out_names_the_file_alone() -> None:
    minimal = (Path(__file__).parent / "files/valid/minimal.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(minimal)
    assert str(load().compute.mistake("ray", message="x")) == "params.yaml:1: compute.ray: x"
