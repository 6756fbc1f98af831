"""Spares the processes of the tests from parsing the same files again and again.

Nothing else changes: what a file says is what it says each time.
"""

from __future__ import annotations

import copy
import functools
import json
import sys
from collections.abc import Callable
from typing import IO, Any

MIGRATES = "env.py"
"""The file of Alembic that does something when it is loaded."""


@functools.cache
def migrations() -> None:
    """MLflow and Optuna load the files of all their migrations for each database that they open, to find the
    last one."""
    import alembic
    from mlflow.store.db import utils
    from optuna.storages._rdb.storage import _VersionManager

    load = alembic.util.load_python_file
    kept = functools.cache(load)
    alembic.util.load_python_file = lambda folder, name: (load if name == MIGRATES else kept)(folder, name)
    for place, name in ((utils, "_get_latest_schema_revision"), (_VersionManager, "get_head_version")):
        setattr(place, name, _once(getattr(place, name)))


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns its first result for ever."""
    results: list[Any] = []

    def first(*arguments: Any) -> Any:
        if not results:
            results.append(function(*arguments))
        return results[0]

    return first


def files_of_dvc() -> None:
    """DVC parses params.yaml for each stage that reads it, and dvc.lock twice for each stage that it ran: the
    second time slowly, to keep comments, which dvc.lock does not have. It then writes dvc.lock, which takes
    longest; as JSON, which is YAML too, it takes no time."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse = _yaml.parse_yaml
    parsed: dict[str, Any] = {}

    def parse_once(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return parse(text, path, typ)
        if text not in parsed:
            parsed[text] = parse(text, path, typ)
        return copy.deepcopy(parsed[text])

    def parse_for_update(text: str, path: str) -> Any:
        return parse_once(text, path, "safe" if path.endswith("dvc.lock") else "rt")

    write = _yaml._dump

    def write_quickly(content: Any, file: IO[str]) -> None:
        if str(getattr(file, "name", "")).endswith("dvc.lock"):
            json.dump(content, file, indent=1)
        else:
            write(content, file)

    _yaml._dump = write_quickly
    _yaml.parse_yaml = strictyaml.parse_yaml = parse_once
    _yaml.parse_yaml_for_update = parse_for_update


HASHED = [
    ("memtrack.runs.fitting",),
    ("memtrack.runs.recording",),
    ("memtrack.ensembles.group_trainer", "memtrack.ensembles.inputs"),
    ("memtrack.core.scores.from_trajectory", "memtrack.tune.truth"),
    ("memtrack.runs.light_training", "memtrack.tune.recipes.flipped_training"),
]
"""What they hash."""


ONCE: dict[str, Callable[..., str]] = {}
"""The functions of memtrack.runs.code that hash once."""


def code(*, now: bool = False) -> None:
    """memtrack parses and hashes its own code for its fingerprints and for DVC. `now`: hash it now, for all
    children."""
    import memtrack.runs.code as real

    modules = {module for key, module in sys.modules.items() if key.startswith("memtrack.")} - {real}
    for name in ("code_hash", "stage_hash"):
        function = getattr(real, name)
        ONCE[name] = functools.cache(function)
        for module in modules:
            if getattr(module, name, None) is function:
                setattr(module, name, ONCE[name])
    for entries in HASHED if now else ():
        ONCE["code_hash"](*entries)


def code_of_a_stage() -> None:
    """A stage loads its module again, after `code`."""
    import memtrack.runs.code as real

    real.__dict__.update(ONCE)
