"""A clone of the repository in which DVC and git work, and images to put into it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML
from warm import CODE, Warm

REPOSITORY = Path(__file__).parents[2]
WARM = "MEMTRACK_TEST_WARM"
"""In the environment: the folder of the warm process."""


NO_MODEL = "from memtrack.tracking.run import Run\nRun.model = lambda *_: None\n"
"""Code that keeps a training from exporting its network for MLflow, which takes a second."""
NO_TRAINING = "from memtrack.runs.fitting import Fitting\nFitting.run_epoch = None\n"
"""Code with which a training fails."""
NO_STORE = "from memtrack.tracking import store\nstore.upload = lambda *_, **__: 0\n"
"""Code that sends MLflow nothing: everything stays in the outbox."""
FEW_RESAMPLES = "from memtrack.core.evaluation import mislabelled\nmislabelled.RESAMPLES = 5\n"
"""Code for intervals that take a tenth of the time; tests of the core look at them."""
NO_PICTURES = """
import inspect
import memtrack.tune.report
from memtrack.report import figures
def leave_empty(*arguments):
    arguments[-1].parent.mkdir(parents=True, exist_ok=True)
    arguments[-1].touch()
for name, function in inspect.getmembers(figures, inspect.isfunction):
    if not name.startswith("_"):
        setattr(figures, name, leave_empty)
memtrack.tune.report.write_pictures = lambda *_: []
"""
"""Code that leaves pictures empty, most of which take half a second, and draws none for a search."""


class Project:
    """A clone of the repository that DVC and git work on."""

    def __init__(self, folder: Path, study: Path | None = None) -> None:
        """`study`: an empty database that a first search begins with; without it the search makes its own."""
        self.folder, self._empty_study = folder, study
        # a test may itself run inside a stage or make, or beside a server: start from a clean environment
        others = ("DVC_", "MLFLOW_", "MAKE")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        for who in ("AUTHOR", "COMMITTER"):
            self.environment |= {f"GIT_{who}_NAME": "t", f"GIT_{who}_EMAIL": "t@localhost"}
        self.environment["DVC_NO_ANALYTICS"] = "1"  # it starts a process after each command
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["PYTHONPATH"] = ""
        self.environment["OMP_NUM_THREADS"] = "1"
        self.environment[CODE] = FEW_RESAMPLES + NO_PICTURES

    def run(self, *command: str, status: int = 0, code: str = "", real: bool = False) -> str:
        """Run a command in the project; its output. A negative status is the signal that ended it.

        Args:
            code: executed in the command's process first; see warm.py.
            real: as a user starts it, without the warm process, and so with all that the command starts.
        """
        with tempfile.TemporaryFile() as output:
            process = self.start(*command, output=output, code=code, real=real)
            try:
                ended = process.wait(timeout=900)
            finally:
                process.kill()
            output.seek(0)
            text = output.read().decode()
        assert ended == status, text
        return text

    def start(
        self, *command: str, output: IO[bytes], code: str = "", real: bool = False
    ) -> Warm | subprocess.Popen[bytes]:
        """Start a command in the project, its output to a file."""
        environment = dict(self.environment)
        server = os.environ.get(WARM)
        if server is not None and not real:
            environment["PATH"] = f"{server}{os.pathsep}{environment['PATH']}"
            files = {0: 0, 1: output.fileno(), 2: output.fileno()}
            warm = Warm(server, command, cwd=str(self.folder), env=environment, files=files, code=code)
            if warm.pid:
                return warm
        assert not code, "the warm process does not serve this"
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )

    def stage(self, name: str, *arguments: str, **options: Any) -> str:
        """Run a stage; see `run`."""
        return self.run("python", "-m", f"memtrack.stages.{name}", *arguments, **options)

    def tune(self, *arguments: str, **options: Any) -> str:
        """Run a search; see `run`."""
        self.place_study()
        return self.run("python", "-m", "memtrack.tune", *arguments, **options)

    def place_study(self) -> None:
        """Put the empty database of studies in its place, where there is none yet."""
        place = self.folder / ".memtrack/tune/study.db"
        if self._empty_study and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._empty_study, place)

    def ran(self, output: str) -> list[str]:
        """The stages that DVC ran, from its output, without stage `code`, which always runs."""
        lines = [line for line in output.splitlines() if line.startswith("Running stage ")]
        return [name for line in lines if (name := line.split("'")[1]) != "code"]

    def changed(self) -> set[str]:
        """The stages of which DVC knows that something has changed, without stage `code`."""
        return set(json.loads(self.run("dvc", "status", "--json"))) - {"code"}

    def params(self, key: str) -> Any:
        """What is at a dotted key of params.yaml."""
        content = YAML(typ="safe").load(self.folder / "params.yaml")
        for part in key.split("."):
            content = content[part]
        return content

    def edit(self, key: str, value: object) -> None:
        """Set a dotted key of params.yaml, comments kept."""
        yaml, path = YAML(), self.folder / "params.yaml"
        yaml.width = 4096  # a long path stays on its line, as `memtrack tune --write` leaves it
        content = yaml.load(path)
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[last] = value
        yaml.dump(content, path)

    def leave(self, *stages: str) -> None:
        """Remove all other stages from dvc.yaml, which would take time and show nothing more."""
        yaml, path = YAML(), self.folder / "dvc.yaml"
        content = yaml.load(path)
        content["stages"] = {name: content["stages"][name] for name in stages}
        yaml.dump(content, path)

    def commit(self) -> None:
        """Commit all."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "test")


@contextmanager
def unlogged(project: Project) -> Iterator[None]:
    """Inside this block, MLflow is sent nothing; nor is it afterwards."""
    project.environment[CODE] += NO_STORE
    yield
    project.environment[CODE] = project.environment[CODE].replace(NO_STORE, "")
    shutil.rmtree(project.folder / ".memtrack/mlflow", ignore_errors=True)


@contextmanager
def drawing(project: Project) -> Iterator[None]:
    """Inside this block, pictures are drawn."""
    project.environment[CODE] = project.environment[CODE].replace(NO_PICTURES, "")
    yield
    project.environment[CODE] += NO_PICTURES


def write_images(folder: Path, classes: tuple[str, ...], count: int, seed: int) -> None:
    """Noisy 8x8 images: one class bright on the left, the other on the right."""
    draw = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = draw.integers(0, 80, (8, 8), dtype=np.uint8)
            pixels[:, 4 * number : 4 * number + 4] += 120
            Image.fromarray(pixels).save(folder / name / f"{index:02d}.png")
