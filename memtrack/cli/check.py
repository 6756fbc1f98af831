"""`memtrack check [FILE ...]`: check parameter files and do nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from memtrack.config import params
from memtrack.config.errors import InputError, Problem
from memtrack.config.paths import input_path
from memtrack.config.sections.base import PARAMS_FILE
from memtrack.config.yaml_file import read_yaml
from memtrack.terminal.entry_point import entry_point

READ_BY_DVC = {
    ("repeat", "seeds"): "[]",
    ("memorization", "variants"): "[]",
    ("memorization", "published"): "{}",
    ("utility", "variants"): "[]",
}
"""Keys from which dvc.yaml generates stages, and the value that generates none."""
SCHEMA_FILE = Path(__file__).parents[1] / "params.schema.json"


def schema() -> str:
    """The JSON Schema of params.yaml, as committed in memtrack/params.schema.json."""
    return json.dumps(params.Params.model_json_schema(), indent=2) + "\n"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Check the files; returns 0 if all are correct, else 2."""
    parser = argparse.ArgumentParser(prog="memtrack check", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=[PARAMS_FILE])
    parser.add_argument("--write-schema", action="store_true", help="also rewrite params.schema.json")
    arguments = parser.parse_args(argv)
    if arguments.write_schema:
        SCHEMA_FILE.write_text(schema(), encoding="utf-8")
    problems: list[Problem] = []
    for file in arguments.files:
        found: list[Problem] = []
        try:
            loaded = params.load(file, tune=True)
            if file == PARAMS_FILE:
                found += _published_that_are_missing(loaded)
        except InputError as error:
            found += error.problems
        if file == PARAMS_FILE:
            found += _missing_for_dvc(file)
        problems += found
        if not found:
            print(f"{file}: ok")
    if problems:
        print(InputError(problems), file=sys.stderr)
    return 2 if problems else 0


def _published_that_are_missing(loaded: params.Params) -> list[Problem]:
    """The missing files of memorization.published; DVC would only report that they do not exist."""
    return [
        problem
        for name, path in loaded.memorization.published.items()
        if not input_path(path).exists()
        for problem in loaded.memorization.mistake(
            "published", name, message=f"{path}: no such file"
        ).problems
    ]


def _missing_for_dvc(file: Path) -> list[Problem]:
    """The missing keys that have a default in memtrack but that dvc.yaml reads."""
    stages = Path("dvc.yaml")
    if not stages.exists():
        return []
    try:
        content = read_yaml(file).content
    except InputError:  # already reported
        return []
    read = stages.read_text()
    return [
        Problem(
            file,
            None,
            (section, key),
            "is missing, and dvc.yaml reads it: add "
            + (f"`{key}: {empty}`" if section in content else f"`{section}: {{{key}: {empty}}}`"),
        )
        for (section, key), empty in READ_BY_DVC.items()
        if f"${{{section}.{key}}}" in read and key not in (content.get(section) or {})
    ]


if __name__ == "__main__":
    main()
