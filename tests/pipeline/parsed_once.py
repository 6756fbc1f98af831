"""Spares the processes of the tests from parsing the same files again and again.

Nothing else changes: what a file says is what it says each time.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from typing import Any

MIGRATES = "env.py"
"""The file of Alembic that does something when it is loaded."""
HASH_CODE = [
    "memtrack.ensembles.fingerprint",
    "memtrack.runs.fingerprint",
    "memtrack.tune.plan",
    "memtrack.tune.recipes.search",
    "memtrack.tune.trained_variant",
]
"""Modules that hash the code of others."""
HASH_STAGES = "memtrack.stages.code"


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
    second time slowly, to keep comments, which dvc.lock does not have."""
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


def code(*, now: bool = False) -> None:
    """memtrack parses and hashes its own code for its fingerprints. `now`: hash it now, for all children."""
    from memtrack.runs.code import code_hash, stage_hash

    once = functools.cache(code_hash)
    for entries in HASHED if now else ():
        once(*entries)
    for name in HASH_CODE:
        if name in sys.modules:
            sys.modules[name].code_hash = once  # type: ignore[attr-defined]
    if HASH_STAGES in sys.modules:
        sys.modules[HASH_STAGES].stage_hash = functools.cache(stage_hash)  # type: ignore[attr-defined]
