"""The addresses of stores: where they are, without the credentials that open them.

Messages, files, tags and keys have addresses. Only the process knows the URI with its credentials, from
MLFLOW_TRACKING_URI or from params.yaml. A separate module because importing mlflow takes seconds.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode

from memtrack.config.errors import InputError, Problem
from memtrack.config.params import Params
from memtrack.config.paths import project_root
from memtrack.config.secrets import URL, is_file, is_unclear, url_without_secrets, without_secrets
from memtrack.config.sections.tracking import TrackingParams
from memtrack.config.sections.tune import DEFAULT_STORAGE
from memtrack.terminal.notices import say_once

UNCLEAR = (
    "it is unclear where the password ends: write @ / ? # : in a user or password as %40 %2F %3F %23 %3A "
    "(me%40example.com for me@example.com)"
)
STORES = (
    "http",
    "https",
    "sqlite",
    "postgresql",
    "mysql",
    "mssql",
    "file",
    "databricks",
    "databricks-uc",
    "uc",
)
"""The schemes of the stores that MLflow has without a plugin."""
LONGEST_NAME = 500
_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!:memory:|file:)(?P<path>[^?]+)(?P<query>.*)", re.DOTALL)
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PLACES = ("host", "port", "dbname", "service", "unix_socket", "options")
"""The keys of a query that say which database is meant. The values of all others may be secret."""
_complete: dict[str, str] = {}
"""For each address, the URI with the credentials that this process was given."""


def tracking_uri(params: TrackingParams) -> str:
    """The address of the MLflow store: from MLFLOW_TRACKING_URI, else from params.yaml, else mlflow.db in the
    project.

    Raises:
        InputError: if it is unclear where a password ends, or if MLflow knows no such store.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI"), params.uri
    for uri in filter(None, given):
        if problem := UNCLEAR if is_unclear(uri) else _no_store(uri):
            if uri == given[0]:
                raise InputError([Problem(Path("MLFLOW_TRACKING_URI"), message=problem)])
            raise params.mistake("uri", message=problem)
        if sqlite_file(uri) is None:
            # MLflow would put the query of a server before the path of its requests, and into its logs
            _complete[address(uri)] = uri.partition("?")[0] if uri.startswith("http") else uri
    return address(given[0] or given[1] or "sqlite:///mlflow.db")


def _no_store(uri: str) -> str:
    """Why MLflow has no store at an address; '' if it may have one."""
    parts = URL.fullmatch(uri)
    if parts is None:
        return ""
    host = parts["host"].rpartition("@")[2]
    if parts["scheme"].lower() in ("http", "https") and not host.partition(":")[0]:
        return "names no server: expected http://SERVER:PORT"
    port = re.search(r":([^:\]]*)$", host)
    if port and not (port[1].isdecimal() and 0 < int(port[1]) < 65536):
        return f"the port {port[1]!r} should be a number from 1 to 65535"
    scheme = parts["scheme"].partition("+")[0].lower()
    if scheme in STORES or scheme in {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}:
        return ""
    return f"MLflow has no stores at {scheme}://...: expected one of {', '.join(STORES)}"


def experiment_name(params: TrackingParams) -> str:
    """The MLflow experiment: from MLFLOW_EXPERIMENT_NAME, else from params.yaml.

    Raises:
        InputError: for a name that MLflow does not take or that spoils its pages.
    """
    given = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    name = given or params.experiment
    if len(name) > LONGEST_NAME or not name.isprintable():
        text = f"should be one line of at most {LONGEST_NAME} characters"
        if given:
            raise InputError([Problem(Path("MLFLOW_EXPERIMENT_NAME"), message=text)])
        raise params.mistake("experiment", message=text)
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        say_once(
            f"MLFLOW_EXPERIMENT_ID is not used: the experiment is {name!r}, from MLFLOW_EXPERIMENT_NAME or "
            "tracking.experiment"
        )
    return name


def address(uri: str) -> str:
    """The URI of a store or database without user, password and tokens, and without its default port.

    The address of a SQLite file in the project is relative to the project, which may be moved or copied.
    """
    file = sqlite_file(uri)
    if file is not None:
        root = project_root()
        return sqlite_uri(file.relative_to(root) if file.is_relative_to(root) else file, uri)
    parts = URL.fullmatch(uri)
    if parts is None or is_file(parts):
        return uri
    port = _PORTS.get(parts["scheme"].partition("+")[0])
    found = re.sub(rf"(://[^/]*):{port}(?=/|$)", r"\1", url_without_secrets(uri))
    found = found.rstrip("/") if parts["host"] else found
    places = [(key, value) for key, value in parse_qsl(parts["rest"][1:]) if key in _PLACES]
    return f"{found}?{urlencode(places)}" if places else found


def located(uri: str) -> str:
    """The URI with the whole path of a SQLite file; a relative one is relative to the project."""
    file = sqlite_file(uri)
    return uri if file is None else sqlite_uri(file, uri)


def complete_uri(store: str) -> str:
    """The URI that opens the store at an address, with the credentials that this process was given for it.

    Raises:
        ValueError: for SQLite without a file.
    """
    if re.match(r"sqlite\b", store) and sqlite_file(store) is None:
        raise ValueError("a SQLite store should be a file: one in memory is gone when the command ends")
    return located(_complete.get(store, store))


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for other stores."""
    found = _SQLITE.fullmatch(uri)
    return None if found is None else (project_root() / unquote(found["path"])).resolve()


def sqlite_uri(file: Path, like: str) -> str:
    """The URI of a SQLite file, with the query of the URI `like`."""
    found = _SQLITE.fullmatch(like)
    path = str(file).replace("%", "%25").replace("?", "%3F")
    # MLflow makes the folder of a path behind sqlite:///, but does not decode it
    scheme = "sqlite" if path == str(file) else "sqlite+pysqlite"
    return f"{scheme}:///{path}{found['query'] if found else ''}"


def reported(error: object, *uris: str) -> str:
    """The text of an error without the secrets of the stores that this process knows, and of these URIs, and
    without what SQLAlchemy adds in further lines: the command, and the address of a page."""
    text = without_secrets(re.split(r"\n(?:\[SQL: |\(Background)", str(error))[0])
    secrets = {os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")}
    for parts in filter(None, map(URL.fullmatch, (*_complete.values(), *uris))):
        found = parts["host"].rpartition("@")[0].split(":", 1)
        found += [value for key, value in parse_qsl(parts["rest"][1:]) if key not in _PLACES]
        secrets |= {*found, *map(unquote, found)}
    for secret in filter(None, secrets):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return text


def check_stores(params: Params) -> None:
    """Raise an `InputError` if a store is unclear, or if MLflow and Optuna are given the same database."""
    if is_unclear(params.tune.storage or ""):
        raise params.tune.mistake("storage", message=UNCLEAR)
    if problem := shared_database(params.tracking, params.tune.storage):
        raise params.tune.mistake("storage", message=problem)
    experiment_name(params.tracking)


def shared_database(tracking: TrackingParams, storage: str | None) -> str | None:
    """What is wrong if MLflow and Optuna are given the same database, else None.

    Args:
        storage: the URL of Optuna's storage, or None for the default.
    """
    ours, theirs = _database(tracking_uri(tracking)), _database(storage or DEFAULT_STORAGE)
    if ours != theirs or ours.endswith("/"):  # which database it is then stands in a part that may be secret
        return None
    return (
        f"MLflow keeps its runs in this database too ({address(storage or DEFAULT_STORAGE)}), and each would "
        "ruin the tables of the other: give Optuna another one than MLFLOW_TRACKING_URI and tracking.uri name"
    )


def _database(uri: str) -> str:
    """The address of a database, whatever the driver, the options and the name of this machine."""
    if (file := sqlite_file(uri)) is not None:
        return str(file)
    found = re.sub(r"^(\w+)\+\w+:", r"\1:", address(uri))
    return re.sub(r"//(127\.0\.0\.1|\[::1\])?(?=[:/]\w)", "//localhost", found)
