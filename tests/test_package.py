"""The wheel and the source distribution are complete, and what is installed works outside of a clone."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DATA = {
    "memtrack/params.schema.json", "memtrack/project/pipeline.yaml", "memtrack/report/page/page.html",
    "memtrack/report/page/page.css", "memtrack/report/page/page.js",
}  # fmt: skip


def test_an_installed_wheel_makes_a_project(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    (source,) = tmp_path.glob("*.tar.gz")
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "memtrack").rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert modules | DATA <= held
    assert not [name for name in held if name.startswith(("tests/", "benchmarks/"))]
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert modules | DATA | {"README.md", "LICENSE", "pyproject.toml", "tests/test_package.py"} <= inside

    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / ".dvc").mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    for command in (["init"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "memtrack.cli.main", *command], cwd=project, env=environment,
            check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.stdout == "params.yaml: ok\n"
    where = [sys.executable, "-c", "import memtrack; print(memtrack.__file__)"]
    found = subprocess.run(where, cwd=project, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path / "site"))
