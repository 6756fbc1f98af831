"""A clone of the repository in which DVC and git work, and images to put into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
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

    def params(self, key: str) -> Any:
        """What is at a dotted key of params.yaml."""
        content = YAML(typ="safe").load(self.folder / "params.yaml")
        for part in key.split("."):
            content = content[part]
        return content

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


class Stages:
    """Runs stages of a project many times over without importing them again; see forking.py."""

    def __init__(self, project: Project) -> None:
        self.output = project.folder.parent / "output.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking.py"))],
            cwd=project.folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=project.environment | {"PYTHONPATH": str(project.folder)},
        )  # fmt: skip

    def run(self, *command: str, status: int = 0, code: str = "") -> str:
        """Run a stage, after `code`; its output. A negative status is the signal that ended it."""
        job = {"command": command, "code": code, "output": str(self.output)}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(job), file=self.process.stdin, flush=True)
        ended = int(self.process.stdout.readline())
        output = self.output.read_text()
        assert ended == status, output
        return output

    def close(self) -> None:
        """End the process."""
        self.process.communicate(timeout=30)


def write_images(folder: Path, classes: tuple[str, ...], count: int, seed: int) -> None:
    """Noisy 8x8 images: one class bright on the left, the other on the right."""
    draw = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = draw.integers(0, 80, (8, 8), dtype=np.uint8)
            pixels[:, 4 * number : 4 * number + 4] += 120
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")
