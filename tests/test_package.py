"""What pip installs of the wheel and of the source distribution is complete and works outside of a clone."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DATA = {
    "memtrack/params.schema.json", "memtrack/project/pipeline.yaml", "memtrack/report/page/page.html",
    "memtrack/project/plots/memtrack_history.json", "memtrack/project/plots/memtrack_roc.json",
    "memtrack/report/page/page.css", "memtrack/report/page/page.js",
}  # fmt: skip


def test_what_is_installed_makes_a_project(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,), (source,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "memtrack").rglob("*.py")}
    assert modules | DATA | {"README.md", "LICENSE", "pyproject.toml", "tests/test_package.py"} <= inside
    held = {}
    for package in (wheel, source):
        site = tmp_path / package.suffix[1:]
        options = ("--no-deps", "--no-build-isolation", "--no-compile", "--no-index", "--target", str(site))
        install = [sys.executable, "-m", "pip", "install", *options, str(package)]
        subprocess.run(install, check=True, capture_output=True)
        held[site] = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
        assert modules | DATA | {"bin/memtrack"} <= held[site]
        assert not [name for name in held[site] if name.startswith(("tests/", "benchmarks/"))]
    of_wheel, of_source = held
    assert held[of_wheel] - held[of_source] == held[of_source] - held[of_wheel] == set()

    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / ".dvc").mkdir()
    for site, command in ((of_wheel, ("init", "--digits")), (of_source, ("check",))):
        environment = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run(
            [sys.executable, str(site / "bin/memtrack"), *command], cwd=project, env=environment,
            check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
    assert done.stdout == "params.yaml: ok\n"
    where = [sys.executable, "-c", "import memtrack; print(memtrack.__file__)"]
    found = subprocess.run(where, cwd=project, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(of_source))
