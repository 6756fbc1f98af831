"""`python -m memtrack.check [FILE ...]`: check parameter files and nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from memtrack.io import params
from memtrack.io.problems import InputError, Problem, entry_point
from memtrack.io.yaml_file import read_yaml

READ_BY_DVC = {
    ("repeat", "seeds"): "[]",
    ("memorization", "variants"): "[]",
    ("memorization", "published"): "{}",
    ("utility", "variants"): "[]",
}
"""Keys over which dvc.yaml makes stages, and how to say that there are to be none."""
SCHEMA_FILE = Path(__file__).parent / "params.schema.json"


def schema() -> str:
    """The JSON Schema of params.yaml, as committed beside this module."""
    return json.dumps(params.Params.model_json_schema(), indent=2) + "\n"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Check the files; 0 if all are right, 2 if not."""
    parser = argparse.ArgumentParser(prog="python -m memtrack.check", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=[params.PARAMS_FILE])
    parser.add_argument("--write-schema", action="store_true", help="renew params.schema.json")
    arguments = parser.parse_args(argv)
    if arguments.write_schema:
        SCHEMA_FILE.write_text(schema(), encoding="utf-8")
    problems: list[Problem] = []
    for file in arguments.files:
        try:
            params.load(file, tune=True)
            if file == params.PARAMS_FILE:
                _check_what_dvc_reads(file)
        except InputError as error:
            problems += error.problems
        else:
            print(f"{file}: ok")
    if problems:
        print(InputError(problems), file=sys.stderr)
    return 2 if problems else 0


def _check_what_dvc_reads(file: Path) -> None:
    """`InputError` for keys that have a default here, but that dvc.yaml names."""
    stages, content = Path("dvc.yaml"), read_yaml(file).content
    if not stages.exists():
        return
    read = stages.read_text()
    problems = [
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
    if problems:
        raise InputError(problems)


if __name__ == "__main__":
    main()
