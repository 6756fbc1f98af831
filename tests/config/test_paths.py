"""Where a path of params.yaml is when a stage runs in a copy of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrack.config.paths import input_path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with data, and an empty copy of it that is the current directory."""
    for name in ("project/data/raw/photos", "project/images", "copy/data/raw"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    return tmp_path / "project"


@pytest.mark.parametrize("name", ["images", "data/raw", "data/raw/photos"])
def test_folders_that_nobody_tracks_are_in_the_project(project: Path, name: str) -> None:
    assert input_path(name) == project / name


@pytest.mark.parametrize("name", ["images", "images/train"])
def test_folders_that_dvc_tracks_are_in_the_copy(project: Path, name: str) -> None:
    Path("images.dvc").touch()
    assert input_path(name) == Path(name)


def test_files_of_the_copy_are_taken_from_it(project: Path) -> None:
    (project / "labels.csv").touch()
    assert input_path("labels.csv") == project / "labels.csv"
    Path("labels.csv").touch()
    assert input_path("labels.csv") == Path("labels.csv")


def test_paths_beside_a_project_that_is_a_folder_of_its_repository(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for repository in (project, Path.cwd()):
        (repository / ".dvc").mkdir()
        (repository / "audit").mkdir()
    monkeypatch.chdir("audit")
    assert input_path("../images").resolve() == project / "images"
    Path("../images").mkdir()
    Path("../images.dvc").touch()
    assert input_path("../images") == Path("../images")


def test_absolute_paths_stay(project: Path) -> None:
    assert input_path(str(project / "images")) == project / "images"
    assert input_path("/nowhere") == Path("/nowhere")
