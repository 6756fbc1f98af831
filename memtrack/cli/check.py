"""`memtrack check [FILE ...]`: check parameter files and do nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from memtrack.config import params
from memtrack.config.errors import InputError, Problem
from memtrack.config.pipeline import folder_problems, pipeline_problems
from memtrack.config.sections.base import PARAMS_FILE
from memtrack.config.yaml_file import read_yaml
from memtrack.data.sources import place_problems
from memtrack.runs.reads import network_problems
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.address import check_stores

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
        found = _problems(file)
        problems += found
        if not found:
            print(f"{file}: ok")
    if problems:
        print(InputError(problems), file=sys.stderr)
    return 2 if problems else 0


def _problems(file: Path) -> list[Problem]:
    """What is wrong in a file; for params.yaml also with the stores and for what dvc.yaml reads."""
    try:
        source = read_yaml(file)
    except InputError as error:
        return list(error.problems)
    problems: list[Problem] = []
    try:
        loaded = params.checked(source, tune=True)
        if file == PARAMS_FILE:
            problems += [*place_problems(loaded.data), *folder_problems(loaded)]
            check_stores(loaded)
            problems += network_problems(loaded, source)
    except InputError as error:
        problems += error.problems
    if file == PARAMS_FILE:
        known = [problem.loc for problem in problems if problem.loc]
        # a name with a dot in it has no key of its own for DVC
        known += [loc[:1] for loc in known if len(loc) > 1 and "." in str(loc[1])]
        missing = pipeline_problems(source, files=True)
        problems += [found for found in missing if not any(found.loc[: len(loc)] == loc for loc in known)]
    return problems


if __name__ == "__main__":
    main()
