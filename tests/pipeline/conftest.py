"""A small project in a temporary clone: 48 images in folders, two variants, two epochs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]


class Project:
    """A clone of the repository that DVC and git work on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # a test may itself run inside a stage or beside a server: start from a clean environment
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))
        }
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["PYTHONPATH"] = ""
        self.environment["OMP_NUM_THREADS"] = "1"

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the project; its output."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, check=False, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout

    def ran(self, output: str) -> list[str]:
        """The stages that DVC ran, from its output."""
        lines = [line for line in output.splitlines() if line.startswith("Running stage ")]
        return [line.split("'")[1] for line in lines]

    def edit(self, key: str, value: object) -> None:
        """Set a dotted key of params.yaml, comments kept."""
        yaml, path = YAML(), self.folder / "params.yaml"
        content = yaml.load(path)
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
        yaml.dump(content, path)

    def commit(self) -> None:
        """Commit all."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "test")


def write_images(folder: Path, classes: tuple[str, ...], count: int, seed: int) -> None:
    """Noisy 8x8 images: one class bright on the left, the other on the right."""
    draw = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = draw.integers(0, 80, (8, 8), dtype=np.uint8)
            pixels[:, 4 * number : 4 * number + 4] += 120
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
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
    made = Project(folder)
    made.edit("data", {"kind": "image_folder", "root": str(images), "train": "train", "test": "test",
                       "image_size": 8, "mode": "L"})  # fmt: skip
    made.edit("variants", {
        "clean": {"kind": "none", "labels": "data/prepared"},
        "noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25},
    })  # fmt: skip
    made.edit("train.epochs", 2)
    made.edit("train.model", {"kind": "cnn", "width": 4, "depth": 1})
    made.edit("evaluate.bootstrap", 50)
    made.run("git", "init", "-q", ".")
    made.commit()
    yield made
