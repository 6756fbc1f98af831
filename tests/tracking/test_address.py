"""The addresses of stores: the same place has one address, and no address has a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from placed import placed
from sqlalchemy.engine import make_url

from memtrack.config.errors import InputError
from memtrack.config.sections.tracking import TrackingParams
from memtrack.tracking.address import (
    address,
    complete_uri,
    experiment_name,
    located,
    reported,
    shared_database,
    tracking_uri,
)
from memtrack.tracking.reference import RunReference


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("http://ann:pw@host:5000/", "http://host:5000"),
        ("https://token@host:443/prefix/", "https://host/prefix"),
        ("http://host:8080?access_token=t0k", "http://host:8080"),
        ("postgresql+psycopg://me:pw@host:5432/runs", "postgresql+psycopg://host/runs"),
        ("postgresql:///runs?host=/run/pg&user=me&password=pw", "postgresql:///runs?host=%2Frun%2Fpg"),
        ("databricks://profile", "databricks://profile"),
        ("databricks", "databricks"),
        ("sqlite:///runs.db", "sqlite:///runs.db"),
        ("sqlite:////elsewhere/a@b/runs.db", "sqlite:////elsewhere/a@b/runs.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("nonsense", "nonsense"),
        ("http://[", "http://["),
    ],
)
def test_the_address_of_a_store(uri: str, place: str) -> None:
    assert address(uri) == address(place) == place


def test_a_file_in_the_project_has_an_address_that_moves_with_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address(f"sqlite:///{project}/runs.db") == "sqlite:///runs.db"
    (project / "copy").mkdir()
    monkeypatch.chdir(project / "copy")
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert located("sqlite:///runs.db") == f"sqlite:///{project}/runs.db"


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a b", "#a", "%3F", "\u00e9", "a@b:c/d&e=f"])
def test_a_project_of_any_path(name: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / name).mkdir(parents=True)
    monkeypatch.chdir(project / name)
    uri = complete_uri(tracking_uri(TrackingParams()))
    assert make_url(uri).database == str(project / name / "mlflow.db")
    assert address(uri) == "sqlite:///mlflow.db"


def test_the_credentials_are_found_by_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    params = TrackingParams(uri="http://bob:pw2@other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:pw1@host:81")
    assert tracking_uri(params) == "http://host:81"
    assert complete_uri("http://host:81") == "http://ann:pw1@host:81"
    assert complete_uri("http://other") == "http://bob:pw2@other"
    assert complete_uri("http://third") == "http://third"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(params) == "http://other"


@pytest.mark.parametrize(
    "uri", ["http://ann:p/w1@host", "http://ann:p@w1@host", "postgresql://a:b?w1@host/d"]
)
def test_a_password_that_is_not_escaped_is_refused_unseen(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"tracking\.uri: it is unclear where the password ends") as caught:
        tracking_uri(placed(TrackingParams(uri=uri), "tracking"))
    assert "w1" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: it is unclear") as caught:
        tracking_uri(TrackingParams())
    assert "w1" not in str(caught.value)


def test_an_at_sign_in_a_path_without_a_password_is_none_of_a_password() -> None:
    assert (
        tracking_uri(TrackingParams(uri="https://mlflow.example.com/@team"))
        == "https://mlflow.example.com/@team"
    )


def test_databases_that_only_a_query_tells_apart_are_not_called_the_same() -> None:
    ours, theirs = (f"mssql+pyodbc:///?odbc_connect=DATABASE%3D{name}" for name in ("mlflow", "optuna"))
    assert shared_database(TrackingParams(uri=ours), theirs) is None


def test_an_error_is_reported_without_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0k")
    uri = "postgresql://ann:p%40w@host/db?sslpassword=ssl1"
    text = "ann cannot, annoyingly, use p@w or p%40w or ssl1 or t0k at http://ann:p%40w@host/x"
    assert (
        reported(ValueError(text), uri)
        == "*** cannot, annoyingly, use *** or *** or *** or *** at http://host/x"
    )
    tracking_uri(TrackingParams(uri=uri))
    assert reported(ValueError(text)) == reported(ValueError(text), uri)


def test_a_reference_of_an_earlier_version_loses_its_password() -> None:
    old = RunReference(key="1", tracking_uri="http://ann:pw@host", experiment="e", variant="v")
    assert old.tracking_uri == "http://host"


@pytest.mark.parametrize(
    ("tracking", "storage", "same"),
    [
        (None, "sqlite:///mlflow.db", True),
        (None, "sqlite+pysqlite:///./mlflow.db?timeout=5", True),
        (None, None, False),
        ("sqlite:///.memtrack/tune/study.db", None, True),
        ("postgresql://ann:pw@localhost/db", "postgresql+psycopg://bob:x@127.0.0.1:5432/db", True),
        ("postgresql://host/db", "postgresql://host/other", False),
        ("postgresql://host/db", "postgresql://host/db?options=-csearch_path%3Dtune", False),
        ("http://host/db", "postgresql://host/db", False),
    ],
)
def test_one_database_for_two_programs(tracking: str | None, storage: str | None, same: bool) -> None:
    assert bool(shared_database(TrackingParams(uri=tracking), storage)) == same


def test_the_experiment_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment_name(TrackingParams(experiment="mine")) == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert experiment_name(TrackingParams(experiment="mine")) == "theirs"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "123")
    for _ in range(2):
        assert experiment_name(TrackingParams(experiment="mine")) == "theirs"
    assert capsys.readouterr().err.count("MLFLOW_EXPERIMENT_ID is not used: the experiment is 'theirs'") == 1


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://bucket/x", "MLflow has no stores at s3://...: expected one of http, https, sqlite"),
        ("http://", "names no server: expected http://SERVER:PORT"),
        ("https://u:p@:5000", "names no server: expected http://SERVER:PORT"),
        ("http://host:99999", "the port '99999' should be a number from 1 to 65535"),
        ("postgresql+psycopg://ann:pw@host:x/db", "the port 'x' should be"),
        ("http://host:", "the port '' should be"),
    ],
)
def test_an_address_without_a_store(uri: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError) as caught:
        tracking_uri(placed(TrackingParams(uri=uri), "tracking"))
    assert str(caught.value).startswith(f"params.yaml: tracking.uri: {said}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError) as caught:
        tracking_uri(TrackingParams())
    assert str(caught.value).startswith(f"MLFLOW_TRACKING_URI: {said}")


@pytest.mark.parametrize(
    "uri", ["http://[::1]:80", "http://[::1]", "databricks", "databricks://profile", "mlruns"]
)
def test_addresses_that_mlflow_may_have(uri: str) -> None:
    tracking_uri(TrackingParams(uri=uri))


@pytest.mark.parametrize("name", ["two\nlines", "x" * 501, "a\0b"])
def test_an_experiment_whose_name_is_no_short_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"MLFLOW_EXPERIMENT_NAME": name})
    with pytest.raises(InputError, match="MLFLOW_EXPERIMENT_NAME: should be one line of at most 500 char"):
        experiment_name(TrackingParams())
    monkeypatch.setattr("os.environ", {})
    if len(name) <= 500:
        with pytest.raises(InputError, match=r"tracking\.experiment: should be one line"):
            experiment_name(placed(TrackingParams(experiment=name), "tracking"))
