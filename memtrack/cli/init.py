"""`memtrack init [DATA]`: make a project of the folder, for images that are anywhere.

It writes dvc.yaml and params.yaml for the images that it finds, and overwrites nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from pydantic import TypeAdapter

from memtrack.config.errors import InputError, Problem
from memtrack.config.pipeline import PIPELINE
from memtrack.config.repository import nearest_with
from memtrack.config.sections.base import PARAMS_FILE
from memtrack.config.sections.data import DataParams, ImageFolder, NamedByPeople
from memtrack.core.files import whole_file
from memtrack.data.class_names import no_classes
from memtrack.data.sources import collect
from memtrack.project.found import DIGITS, Data, look_at
from memtrack.project.params_file import VARIANT, params_text
from memtrack.project.pipeline_file import add_templates, pipeline_text, read_text
from memtrack.terminal.entry_point import entry_point

WRITTEN_TO = ("data/prepared", "data/variants", "results")
IGNORED_BY_GIT = ("/.memtrack", "/mlflow.db*", "/mlruns/", "/data/prepared", "/data/variants/", "/results/")
IGNORED_BY_DVC = ("__pycache__/", "*.pyc", "/networks/*.lock")
NETWORKS = """\
# Networks of your own

Put here what `train.model` names: files with networks (`kind: python`) and files with weights. DVC watches
this folder: if something in it changes, the stages that train run again.
"""


@entry_point
def main(argv: list[str] | None = None) -> None:
    """Write the files of a project."""
    parser = argparse.ArgumentParser(prog="memtrack init", description=__doc__)
    samples = parser.add_mutually_exclusive_group()
    samples.add_argument(
        "data",
        nargs="?",
        type=Path,
        help="the folder of the images, with a folder for each class; a table (.csv, .tsv, .parquet) of "
        "labels with paths, numbers or texts, or with images in it; a folder of such tables, or one that "
        "Hugging Face's `save_to_disk` wrote; or an .npz file. Without it you are asked",
    )
    samples.add_argument(
        "--digits", action="store_true", help="take scikit-learn's handwritten digits, as an example"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="put everything into this folder of the repository"
    )
    options = parser.parse_args(argv)
    here = Path.cwd()
    folder = (here / options.folder).resolve()
    repository = nearest_with(".git", folder)
    if repository is None:
        text = "is in no git repository, and DVC keeps its versions in one: run `git init` first"
        raise InputError([Problem(folder, message=text)])
    if not folder.is_relative_to(here):
        raise InputError([Problem(options.folder, message="should be a folder below this one")])
    _refuse_others(folder, options.folder)
    dvc = nearest_with(".dvc", folder, repository)
    data = DIGITS if options.digits else _data(options.data, folder, dvc or repository)
    pipeline = folder / PIPELINE
    there = read_text(pipeline) if pipeline.exists() else None
    text = pipeline_text(there, pipeline)  # before anything is written: it may be refused
    ignored = {
        path: _with_lines(path, lines)
        for path, lines in ((folder / ".gitignore", IGNORED_BY_GIT), (folder / ".dvcignore", IGNORED_BY_DVC))
    }
    if dvc is None:
        begin = [sys.executable, "-m", "dvc", "init", "--quiet"]
        done = subprocess.run(begin, cwd=repository, check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "ERROR" in line), done.stderr.strip())
            text = f"`dvc init` cannot begin a DVC repository here: {said}: make the folder writable"
            raise InputError([Problem(repository, message=text)])
        print(f"ran `dvc init` in {repository}")
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / PARAMS_FILE, params_text(data))
    _write(pipeline, text)
    for path in add_templates(dvc or repository):
        print(f"wrote {os.path.relpath(path)}")
    if not (folder / "networks").exists():
        (folder / "networks").mkdir()
        _write(folder / "networks/README.md", NETWORKS)
    if data is DIGITS:
        (folder / data.section["root"]).mkdir(parents=True, exist_ok=True)
    for path, content in ignored.items():
        if content is not None:
            _write(path, content)
    step = "" if folder == here else f"cd {options.folder} && "
    print(
        f"The data: {data.words}. Look through params.yaml; then\n"
        f"    {step}memtrack check && dvc repro\n"
        f"trains, and results/report/{VARIANT}/index.html is the page to look at."
    )


def _refuse_others(folder: Path, given: Path) -> None:
    """`InputError` if the files or folders of a project are there already."""
    other = f"`memtrack init --folder {given / 'memtrack'}` uses a folder that has none of them"
    found = []
    if (folder / PARAMS_FILE).exists():
        found.append(Problem(folder / PARAMS_FILE, message=f"is there already, and stays as it is: {other}"))
    for name in WRITTEN_TO:
        path = folder / name
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            found.append(Problem(path, message=f"is there already, and memtrack writes to it: {other}"))
    if found:
        raise InputError(found)


def _data(given: Path | None, folder: Path, repository: Path) -> Data:
    """The data that was named, or that the user names now; those in the DVC repository by a relative path."""
    if given is None:
        if not sys.stdin.isatty():
            text = "nobody can be asked for the samples: name their folder, table or .npz file "
            text += "(`memtrack init FOLDER`), or write `memtrack init --digits` for an example"
            raise InputError([Problem(folder, message=text)])
        answer = input(
            "The folder, table or .npz file of your samples (empty: digits, as an example): "
        ).strip()
        given = Path(answer).expanduser() if answer else None
    if given is None:
        return DIGITS
    place = given.resolve()
    root = place if place.is_dir() else place.parent
    if folder.is_relative_to(root):
        text = "holds the project itself, and DVC would watch its own results: put the samples into a folder"
        raise InputError([Problem(given, message=text)])
    inside = root.is_relative_to(repository)  # experiments copy the repository
    data = look_at(place, Path(os.path.relpath(root, folder)).as_posix() if inside else root.as_posix())
    params = TypeAdapter(DataParams).validate_python({**data.section, "root": root.as_posix()})
    labels = collect(params).labels  # or an error
    if (
        isinstance(params, NamedByPeople)
        and not isinstance(params, ImageFolder)
        and (text := no_classes(labels))
    ):
        raise InputError([Problem(given, message=f"{text}. If they are classes, give them other names")])
    return data


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())
    print(f"wrote {os.path.relpath(path)}")


def _with_lines(path: Path, lines: tuple[str, ...]) -> str | None:
    """The content of a file with these lines added; None if it has all of them."""
    there = read_text(path) if path.exists() else ""
    missing = [line for line in lines if line not in there.splitlines()]
    if not missing:
        return None
    gap = "" if not there or there.endswith("\n") else "\n"
    return there + gap + "# memtrack\n" + "".join(f"{line}\n" for line in missing)


if __name__ == "__main__":
    main()
