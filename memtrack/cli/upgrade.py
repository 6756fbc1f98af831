"""`memtrack upgrade`: bring dvc.yaml up to this version of memtrack, after showing what changes."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

from memtrack.config.errors import InputError, Problem
from memtrack.config.pipeline import PIPELINE
from memtrack.config.repository import nearest_with
from memtrack.core.files import whole_file
from memtrack.project.pipeline_file import add_templates, pipeline_text, read_text
from memtrack.terminal.entry_point import entry_point


@entry_point
def main(argv: list[str] | None = None) -> None:
    """Show the difference, and write the file if it is wanted."""
    parser = argparse.ArgumentParser(prog="memtrack upgrade", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write dvc.yaml without asking")
    options = parser.parse_args(argv)
    if not PIPELINE.exists():
        raise InputError([Problem(PIPELINE, message="is not here: `memtrack init` writes one")])
    there = read_text(PIPELINE)
    wanted = pipeline_text(there, PIPELINE)
    repository = nearest_with(".dvc", Path.cwd())
    for path in add_templates(repository) if repository is not None else ():
        print(f"wrote {os.path.relpath(path)}, which `dvc plots` needs")
    if there == wanted:
        print(f"{PIPELINE}: is up to date")
        return
    lines = difflib.unified_diff(
        there.splitlines(), wanted.splitlines(), f"{PIPELINE} now", f"{PIPELINE} of this version", lineterm=""
    )
    print(*lines, sep="\n")
    if not options.write and not (sys.stdin.isatty() and input("Write it? [y/N] ").lower() == "y"):
        print(f"{PIPELINE}: unchanged; `memtrack upgrade --write` writes it")
        return
    with whole_file(PIPELINE) as file:
        file.write(wanted.encode())
    print(f"{PIPELINE}: written; `dvc repro` runs what has changed")


if __name__ == "__main__":
    main()
