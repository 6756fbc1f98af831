"""What git or the system cannot tell is left out, with a notice; nothing fails."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path

import pytest
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_USER

from memtrack.terminal.notices import say_once
from memtrack.tracking.provenance import project_tags


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    say_once.cache_clear()


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_recorded_and_before_the_first_one_it_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    git("init", "-q")
    assert MLFLOW_GIT_COMMIT not in project_tags("clean")
    assert "the git commit is not recorded in MLflow: the repository has none yet" in capsys.readouterr().err
    git("commit", "-q", "--allow-empty", "-m", "first")
    assert project_tags("clean")[MLFLOW_GIT_COMMIT] == git("rev-parse", "HEAD")
    assert capsys.readouterr().err == ""


def test_outside_a_repository_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert MLFLOW_GIT_COMMIT not in project_tags("clean")
    assert capsys.readouterr().err == ""


def test_without_the_program_git(
    monkeypatch: pytest.MonkeyPatch, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(project))
    for _ in range(2):
        assert MLFLOW_GIT_COMMIT not in project_tags("clean")
    assert capsys.readouterr().err.count("the program git cannot be run (No such file or directory)") == 1


def test_a_repository_of_another_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    assert MLFLOW_GIT_COMMIT not in project_tags("clean")
    assert "git reports: fatal: detected dubious ownership" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 54321"), OSError("No username")])
def test_a_user_without_a_name(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody() -> None:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert MLFLOW_USER not in project_tags("clean")
    assert "the user is not recorded in MLflow" in capsys.readouterr().err
