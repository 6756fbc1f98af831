"""Two people, one store: what one has computed the other pulls, and both log to one tracking server.

The stores are servers of this machine: MLflow on PostgreSQL, which takes the files of the runs too; a DVC
remote in S3 (moto_server, an emulation of it); and one behind OpenSSH."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import parsed_once
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from pages import blocks, run_shell
from project_clone import CODE, NO_MODEL, NO_PICTURES, Project
from ruamel.yaml import YAML
from servers import SSHD, MlflowServer, ssh_server

pytestmark = pytest.mark.skipif(
    "MEMTRACK_TEST_SERVERS" not in os.environ, reason="takes half a minute of a core: `make servers` runs it"
)
boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")
KEYS = {"AWS_ACCESS_KEY_ID": "anna", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 store with the bucket `team`."""
    pytest.importorskip("dvc_s3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="team")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def tracking(tmp_path: Path, postgres: Callable[[str], str]) -> Iterator[str]:
    """The address of an MLflow server on PostgreSQL."""
    parsed_once.migrations()
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server", postgres("runs"))
    server.start()
    yield server.uri
    server.stop()


def flowers(path: Path) -> None:
    """A table of two classes that are far apart; six labels are wrong."""
    draw = np.random.default_rng(0)
    label = np.arange(60) % 2
    values = np.column_stack([label * 3 + draw.normal(size=60) for _ in range(3)]).round(3)
    label[:6] = 1 - label[:6]
    rows = [
        f"{','.join(map(str, row))},{'rose' if one else 'lily'}"
        for row, one in zip(values, label, strict=True)
    ]
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["width,height,weight,label", *rows]))


def person(folder: Path) -> Project:
    found = Project(folder)
    git = {
        f"GIT_{who}_{what}": "t@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    found.environment |= KEYS | git
    found.environment[CODE] = NO_PICTURES + NO_MODEL
    return found


def leave(project: Project, *stages: str) -> None:
    """Remove all other stages, which would take half of the time and show nothing more."""
    yaml, path = YAML(), project.folder / "dvc.yaml"
    content = yaml.load(path)
    content["stages"] = {name: content["stages"][name] for name in stages}
    yaml.dump(content, path)


def results(project: Project) -> dict[str, bytes]:
    folder = project.folder / "results"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_computes_and_the_other_pulls(tmp_path: Path, s3: str, tracking: str) -> None:
    """The commands are those of docs/two_people.md."""
    annas, bens, over_ssh = (block for block in blocks("docs/two_people.md") if not block.reason)
    (tmp_path / "anna").mkdir()
    anna = person(tmp_path / "anna")
    flowers(anna.folder / "data/flowers/flowers.csv")
    anna.run("git", "init", "-q", "-b", "main", ".")
    anna.run("git", "init", "-q", "-b", "main", "--bare", "../origin.git")
    anna.run("git", "remote", "add", "origin", "../origin.git")
    init, *rest = annas.text.splitlines()
    run_shell(anna, replace(annas, text=init))
    for key, value in {"train.epochs": 2, "record.epochs": {"kind": "every"}, "suspects.variants": [],
                       "tracking": {"uri": tracking}}.items():  # fmt: skip
        anna.edit(key, value)
    leave(anna, "code", "prepare", "corrupt", "train", "suspects", "halves", "evaluate")
    run_shell(anna, replace(annas, text="\n".join(rest)), http___127_0_0_1_9000=s3)

    clone, *rest = bens.text.splitlines()
    run_shell(anna, replace(bens, text=clone), ADDRESS_OF_THE_REPOSITORY="../origin.git", flowers="../ben")
    ben = person(tmp_path / "ben")
    _, repeated, table = run_shell(ben, replace(bens, text="\n".join(rest)))
    assert results(ben) == results(anna)
    table_of_flowers = "data/flowers/flowers.csv"
    assert (ben.folder / table_of_flowers).read_bytes() == (anna.folder / table_of_flowers).read_bytes()
    assert ben.ran(repeated) == []
    assert "given" in table

    # what Ben computes on top of it goes to the run that Anna has begun
    ben.edit("evaluate.scores", ["curvature", "csl"])
    assert ben.ran(ben.run("dvc", "repro", "evaluate@given")) == ["evaluate@given"]
    client = MlflowClient(tracking)
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    scores = download_artifacts(
        run_id=run.info.run_id, artifact_path="scores/scores.csv", tracking_uri=tracking,
        dst_path=str(tmp_path),
    )  # fmt: skip
    assert Path(scores).read_bytes() == (ben.folder / "results/evaluate/given/scores.csv").read_bytes()

    if SSHD is None:
        return
    pytest.importorskip("dvc_ssh")
    *remote, push, pull = over_ssh.text.splitlines()
    with ssh_server(tmp_path / "ssh") as (port, key):
        run_shell(ben, replace(over_ssh, text="\n".join([*remote, push])), **{
            "ssh___SERVER_srv_flowers": f"ssh://127.0.0.1:{port}{tmp_path}/remote",
            "___ssh_id_ed25519": str(key),
        })  # fmt: skip
        before = results(ben)
        for name in (".dvc/cache", "results", "data"):
            shutil.rmtree(ben.folder / name)
        ben.run("git", "checkout", "-q", "data")
        run_shell(ben, replace(over_ssh, text=pull))
        assert results(ben) == before
