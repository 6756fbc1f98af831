"""The origin of a run: data version, git commit, DVC experiment, user."""

from __future__ import annotations

import getpass
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_USER

from memtrack.config.paths import VARIANTS_FOLDER
from memtrack.terminal.notices import say_once

LOCK_FILE = Path("dvc.lock")
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the file is long: the Python loader takes a second


def data_hash(stage: str, path: Path) -> str | None:
    """DVC's hash of an output in dvc.lock, or None if DVC has not recorded one yet."""
    try:
        stages = _parsed(LOCK_FILE.read_bytes()).get("stages", {})
    except (OSError, yaml.YAMLError, AttributeError):
        return None
    outs = stages.get(stage, {}).get("outs", [])
    found = [out.get("md5") for out in outs if Path(out.get("path", "")) == path]
    return str(found[0]) if found and found[0] else None


@lru_cache(maxsize=1)
def _parsed(content: bytes) -> Any:
    return yaml.load(content, Loader=_YAML)  # each stage reads this long file several times


def dataset(kind: str, variant: str) -> dict[str, str]:
    """A variant as the argument `dataset` of `Run.log`, with DVC's hash of its labels."""
    folder = VARIANTS_FOLDER / variant
    digest = data_hash(f"corrupt@{variant}", folder) or "unrecorded"
    return {"name": f"{kind}-{variant}", "digest": digest[:36], "folder": str(folder)}


def project_tags(variant: str) -> dict[str, str]:
    """Tags with the origin of a run: data version, DVC experiment, git commit, user."""
    found = {
        "dvc_data_hash": data_hash("prepare", Path("data/prepared")),
        "dvc_variant_hash": data_hash(f"corrupt@{variant}", VARIANTS_FOLDER / variant),
        "dvc_experiment": os.environ.get("DVC_EXP_NAME"),
        "dvc_stage": os.environ.get("DVC_STAGE"),
        MLFLOW_GIT_COMMIT: git_commit(),
        MLFLOW_SOURCE_NAME: os.environ.get("DVC_STAGE") or f"train {variant}",
        MLFLOW_USER: user_name(),
    }
    return {key: value for key, value in found.items() if value}


def git_commit() -> str | None:
    """The commit that is checked out; None outside a repository, or if git cannot tell it, which is said."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},  # the messages in English
            check=False,
        )
    except OSError as error:
        reason = f"the program git cannot be run ({error.strerror})"
    else:
        if found.returncode == 0:
            return found.stdout.strip()
        if "not a git repository" in found.stderr:
            return None
        first = found.stderr.partition("\n")[0]
        reason = "the repository has none yet" if "single revision" in first else f"git reports: {first}"
    say_once(f"the git commit is not recorded in MLflow: {reason}")
    return None


def user_name() -> str | None:
    """The user's name; None if the system has none, as in a container with a user id of its own."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        say_once(f"the user is not recorded in MLflow: user id {os.getuid()} has no name (USER may give it)")
        return None
