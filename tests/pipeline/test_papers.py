"""The published protocols: their params files are valid, the small version runs, the page is up to date."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from project_clone import NO_MODEL, NO_STORE, REPOSITORY, Project
from project_fixtures import empty_store  # noqa: F401

from benchmarks.papers import curves, tables
from benchmarks.papers.protocol import Protocol, gini, options_from, parameters, run
from memtrack.config import params

NAMES = [protocol.name for protocol in tables.PROTOCOLS]


def loaded(folder: Path, name: str, *arguments: str) -> params.Params:
    """The parameters of a protocol, checked as a stage checks them."""
    made = parameters(name, options_from([str(folder), *arguments], None))
    file = folder / "params.yaml"
    file.write_text(str(made))  # a dictionary of Python is YAML, too
    file.write_text(
        file.read_text().replace("None", "null").replace("True", "true").replace("False", "false")
    )
    return params.load(file)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_settings(tmp_path: Path, name: str) -> None:
    found = loaded(tmp_path, name, "--images", str(tmp_path / "images"), "--device", "cuda")
    assert (found.train.batch_size, found.train.optimizer.lr, found.train.model.kind) == (
        128,
        0.1,
        "torchvision",
    )
    if name in ("garg2024", "csl2025"):
        assert found.train.epochs == len(found.recorded_epochs()) == 200
        assert found.train.schedule.milestones == (120, 180)
        assert (found.curvature.perturbation_scale, found.curvature.probes) == (0.001, 10)


@pytest.mark.parametrize("name", NAMES)
def test_fewer_epochs_keep_the_schedule(tmp_path: Path, name: str) -> None:
    found = loaded(tmp_path, name, "--small", "--epochs", "10", "--every", "5")
    assert (found.data.kind, found.train.model.kind) == ("digits", "cnn")
    assert (found.train.schedule.milestones, found.recorded_epochs()) == ((6, 9), (5, 10))


def test_the_small_version(tmp_path: Path, empty_store: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """One variant through memtrack's stages; a second command with other settings is refused."""
    (protocol,) = (protocol for protocol in tables.PROTOCOLS if protocol.name == "arpit2017")
    folder = tmp_path / protocol.name
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "memtrack").symlink_to(REPOSITORY / "memtrack")

    def stage(project: Path, name: str, *arguments: str) -> None:
        Project(project).stage(name, *arguments, code=NO_MODEL + NO_STORE)

    command = [str(tmp_path), "--small", "--epochs", "1", "--every", "1", "--only", "symmetric20"]
    table = run(protocol, command, stage).read_text()
    rows = {
        line.split(" | ")[0]: line.split(" | ")[1:] for line in table.splitlines() if line.startswith("| ")
    }
    later, higher, _ = rows["| 20% wrong"]
    assert 0.5 < float(later.removeprefix("later / ")) <= 1
    assert 0.5 < float(higher.removeprefix("higher / ")) <= 1
    assert rows["| 40% wrong"][0] == "later / not measured"
    assert "The small version on digits." in capsys.readouterr().out
    with pytest.raises(SystemExit, match="has other settings"):
        run(protocol, [*command, "--epochs", "2"], stage)


def test_the_picture_of_real_data_against_noise(tmp_path: Path) -> None:
    """Which trainings it asks for; a second command draws alone."""
    ran: list[tuple[str, ...]] = []

    def stage(project: Path, name: str, *arguments: str) -> None:
        ran.append((project.name, name, *arguments))
        if name == "train":
            folder = project / "results/train" / arguments[0]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "history.csv").write_text("epoch,train_loss,train_accuracy\n1,2.0,0.1\n2,1.0,0.4\n")

    command = [str(tmp_path), "--small", "--epochs", "2", "--only", "true_labels", "gaussian"]
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves/critical.csv").write_text("epoch,true_labels,gaussian\n1,0.2,0.5\n2,0.3,0.9\n")
    assert curves.run(command, stage).stat().st_size > 10_000
    assert ran == [
        ("curves", "prepare"),
        ("curves", "corrupt", "true_labels"), ("curves", "train", "true_labels"),
        ("curves", "corrupt", "gaussian"), ("curves", "train", "gaussian"),
        ("curves_dropout", "prepare"),
        ("curves_dropout", "corrupt", "true_labels"), ("curves_dropout", "train", "true_labels"),
    ]  # fmt: skip
    with_dropout = params.load(tmp_path / "curves_dropout/params.yaml")
    assert (with_dropout.train.model.dropout, list(with_dropout.variants)) == (0.5, ["true_labels"])
    with pytest.raises(SystemExit, match="has other settings"):
        curves.run([*command, "--every", "1"], stage)


def test_gini() -> None:
    """Half the mean difference of two values, relative to the mean."""
    values = np.random.default_rng(0).exponential(size=50)
    expected = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(expected)


def test_the_page_is_up_to_date() -> None:
    assert tables.PAGE.read_text() == tables.page()


def test_a_page_with_numbers(tmp_path: Path) -> None:
    (tmp_path / "csl2025.json").write_text(
        '{"settings": "Measured somewhere.", "measured": {"duplicates250": {"csl": 0.9, "aum": 0.75}}}'
    )
    lines = tables.page(tmp_path).splitlines()
    assert "| cumulative sample loss | 0.982 / 0.900 |" in lines
    assert "| mean margin | - / 0.750 |" in lines
    assert lines.count("Measured somewhere.") == 1
    assert lines.count("Not measured.") == len(NAMES) - 1


def test_every_protocol_has_a_command() -> None:
    for protocol in tables.PROTOCOLS:
        assert isinstance(protocol, Protocol)
        assert (REPOSITORY / f"benchmarks/papers/{protocol.name}.py").exists()
