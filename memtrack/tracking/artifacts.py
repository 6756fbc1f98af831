"""Where MLflow keeps the artifacts of a store that has no server: in mlruns, beside the database."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote, unquote

from sqlalchemy import create_engine, text

from memtrack.config.paths import project_root
from memtrack.tracking.address import complete_uri, sqlite_file

_DATABASES = ("postgresql", "mysql", "mssql")
_FOLDERS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The tables and columns of MLflow's database that name folders of artifacts."""


def artifact_location(store: str, experiment: str) -> str | None:
    """The URI of the folder for the artifacts of an experiment: in `mlruns` beside a SQLite file, and in the
    project for other databases. None: the server decides.

    MLflow's default is the working directory, which may be a copy of the project.
    """
    file, kind = sqlite_file(store), re.split("[+:]", store)[0]
    if file is None and kind not in _DATABASES:
        return None
    folder = project_root() if file is None else file.parent
    return (folder / "mlruns" / folder_name(experiment)).as_uri()


def folder_name(experiment: str) -> str:
    """The name of an experiment as the name of one folder; two experiments have two names."""
    if re.fullmatch(r"\w[\w .-]{,59}", experiment) and experiment[-1] not in " .":
        return experiment
    digest = hashlib.sha256(experiment.encode(errors="surrogatepass")).hexdigest()[:8]
    return re.sub(r"[^\w-]+", "_", experiment)[:60].strip("_") + f"-{digest}"


def follow_move(store: str, experiment: str, location: str) -> None:
    """If a SQLite file was moved or copied with its project, make it name the artifacts at the new place.

    Otherwise MLflow would go on to write to the old place, which may still be another project.

    Args:
        location: the folder of the artifacts of `experiment` according to the store.

    Raises:
        SQLAlchemyError: if the file cannot be written.
    """
    file, here = sqlite_file(store), artifact_location(store, experiment)
    old, found, name = location.rpartition("/mlruns/")
    if file is None or here is None or not found or not old.startswith("file:///"):
        return
    before = Path(unquote(old.removeprefix("file://")))
    ours = name in (here.rpartition("/")[2], quote(experiment))  # otherwise it is a place that somebody chose
    if not ours or before.resolve() == file.parent:
        return
    engine = create_engine(complete_uri(store), connect_args={"timeout": 60})
    with engine.begin() as connection:
        for table, column in _FOLDERS:
            moved = f"UPDATE {table} SET {column} = :new || substr({column}, :start) "
            moved += f"WHERE substr({column}, 1, :length) = :old"
            values = {"new": file.parent.as_uri(), "old": old + found, "start": len(old) + 1}
            connection.execute(text(moved), {**values, "length": len(old + found)})
    engine.dispose()
    left = f": move {before / 'mlruns'} there too" if not (file.parent / "mlruns").exists() else ""
    print(
        f"{file.name} was in {before} before: the files of its runs are in {file.parent / 'mlruns'} now{left}"
    )
