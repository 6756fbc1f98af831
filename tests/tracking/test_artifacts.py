"""Artifacts are in mlruns beside the database, whatever the experiment is called, also after a move."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import pytest
from mlflow.models import Model
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from memtrack.tracking import store
from memtrack.tracking.artifacts import artifact_location, folder_name
from memtrack.tracking.reference import RunReference

NAMES = ["/Users/me@x/exp", "../../up", "..", ".", "a:b", "a/b", "a?b#c%20d", "x" * 500, "\u00e9" * 400, " ",
         "name\n", "trailing.", "\\back", "~", "C:\\x"]  # fmt: skip


def reference(experiment: str = "memtrack") -> RunReference:
    return RunReference(key="1", tracking_uri="sqlite:///mlflow.db", experiment=experiment, variant="a")


@pytest.mark.parametrize("name", [*NAMES, "memtrack", "digits, 10 %", "\u00e9t\u00e9 2"])
def test_the_folder_of_an_experiment_is_in_mlruns(name: str, project: Path) -> None:
    location = artifact_location("sqlite:///mlflow.db", name)
    assert location is not None
    folder = Path(unquote(urlparse(location).path))
    assert folder.resolve().parent == project / "mlruns"
    folder.mkdir(parents=True)  # the file system takes the name


def test_each_experiment_has_its_own_folder_and_a_plain_name_is_kept() -> None:
    assert len({folder_name(name) for name in NAMES}) == len(NAMES)
    assert folder_name("my exp-1.2_b") == "my exp-1.2_b"


def test_other_databases_have_their_artifacts_in_the_project(project: Path) -> None:
    assert artifact_location("postgresql+psycopg://host/db", "a") == (project / "mlruns/a").as_uri()
    assert artifact_location("http://host", "a") is artifact_location("databricks", "a") is None


def test_a_network_is_logged_in_a_project_of_any_path(
    project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / "a?b#c%20d/model"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder.parent)
    shutil.copy(empty_store, "mlflow.db")
    Model().save(folder / "MLmodel")
    client, experiment = store.open_experiment(reference())
    store._give_model(client, experiment, client.create_run(experiment).info.run_id, folder)
    (model,) = client.search_logged_models([experiment])
    assert str(model.status) == "READY"
    assert [path.parents[4] for path in project.rglob("mlruns/*/*/*/artifacts/MLmodel")] == [
        Path("mlruns").resolve()
    ]


def write(client: mlflow.MlflowClient, run: str, name: str) -> None:
    Path(name).write_text(name)
    client.log_artifact(run, name)
    Path(name).unlink()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "mlruns").rglob("*.txt"))


@pytest.mark.parametrize(("names", "copied"), [(("old", "a?b%20c"), False), (("a?b%20c", "new"), True)])
def test_a_project_that_was_moved_or_copied_writes_to_its_new_place(
    names: tuple[str, str], copied: bool, project: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    old, new = (project / name for name in names)
    old.mkdir()
    shutil.copy(empty_store, old / "mlflow.db")
    monkeypatch.chdir(old)
    client, experiment = store.open_experiment(reference("a:b"))
    run = client.create_run(experiment).info.run_id
    write(client, run, "first.txt")
    assert capsys.readouterr().out == ""
    monkeypatch.chdir(project)
    shutil.copytree(old, new) if copied else old.rename(new)
    monkeypatch.chdir(new)
    _artifact_repos_cache.clear()  # this is another process
    client, experiment = store.open_experiment(reference("a:b"))
    assert str(old) in capsys.readouterr().out
    write(client, run, "second.txt")
    write(client, client.create_run(experiment).info.run_id, "third.txt")
    assert files(new) == ["first.txt", "second.txt", "third.txt"]
    assert [one.path for one in client.list_artifacts(run)] == ["first.txt", "second.txt"]
    assert files(old) == (["first.txt"] if copied else [])
    assert sorted(path.name for path in project.iterdir() if path.is_dir()) == sorted(
        {*names} if copied else {names[1]}
    )
    store.open_experiment(reference("a:b"))
    assert capsys.readouterr().out == ""


def test_artifacts_that_somebody_put_elsewhere_stay_there(
    project: Path, empty_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_store, project / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    for number, location in enumerate(["s3://bucket/mlruns/0", (project / "big/mlruns/7").as_uri()]):
        client.create_experiment(str(number), artifact_location=location)
        store.open_experiment(reference(str(number)))
        assert client.get_experiment_by_name(str(number)).artifact_location == location
    assert capsys.readouterr().out == ""
