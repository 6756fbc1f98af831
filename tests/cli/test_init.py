"""`memtrack init` and `memtrack upgrade`: what they write, what they leave alone, what they refuse."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path

import pytest
from pages import run_here

from memtrack.cli import check, init, upgrade
from memtrack.config.paths import project_root
from memtrack.config.sections.base import PARAMS_FILE
from memtrack.project.pipeline_file import OURS

Picture = Callable[..., Path]


@pytest.fixture(autouse=True)
def photos(picture: Picture) -> None:
    """Images in a git repository that DVC knows."""
    for name in ("cat", "dog"):
        picture(f"photos/{name}/1.png")
    Path(".git").mkdir()
    Path(".dvc").mkdir()


def run(command: Callable[[list[str]], object], *arguments: str) -> object:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as ended:
        command(list(arguments))
    return ended.value.code


def test_a_project_for_images(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".gitignore").write_text("*.log")
    assert run_here("memtrack init", "README.md") == 0
    assert "memtrack check && dvc repro" in capsys.readouterr().out
    assert run_here("memtrack check", "README.md", "docs/stages.md") == 0
    assert "  root: photos\n" in PARAMS_FILE.read_text()
    assert Path("dvc.yaml").read_text() == OURS.read_text()
    assert Path("networks/README.md").is_file()
    lines = Path(".gitignore").read_text().splitlines()
    assert lines[:2] == ["*.log", "# memtrack"]
    assert "/.memtrack" in lines


def test_dvc_is_begun_where_it_is_needed(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("new"))
    assert run(init.main, "--digits") == 2  # no git yet
    subprocess.run(["git", "init", "-q"], check=True)
    assert run(init.main) == 2
    assert "nobody can be asked for the samples: name their folder" in capsys.readouterr().err
    assert not list(Path.cwd().glob("[!.]*"))
    assert run(init.main, "--digits") == 0
    assert Path(".dvc/config").is_file()
    assert "kind: digits" in PARAMS_FILE.read_text()
    assert run(check.main) == 0


def test_in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text("train: {lr: 1}\n")
    assert run(init.main, "photos", "--folder", "audit") == 0
    assert "cd audit && memtrack check" in capsys.readouterr().out
    assert Path("params.yaml").read_text() == "train: {lr: 1}\n"
    here = Path.cwd()
    monkeypatch.chdir("audit")
    assert run(check.main) == 0
    assert "root: ../photos" in PARAMS_FILE.read_text()
    assert project_root() == here / "audit"
    monkeypatch.setenv("DVC_ROOT", str(here))
    assert project_root() == here / "audit"
    (here / "copy/.dvc").mkdir(parents=True)  # as for an experiment
    (here / "copy/audit").mkdir()
    monkeypatch.chdir(here / "copy/audit")
    assert project_root() == here / "audit"


def test_a_git_repository_below_a_project_of_others_gets_a_dvc_of_its_own(picture: Picture) -> None:
    picture("inner/photos/cat/1.png")
    picture("inner/photos/dog/1.png")
    with chdir("inner"):
        subprocess.run(["git", "init", "-q"], check=True)
        assert run(init.main, "photos") == 0
        assert Path(".dvc/config").is_file()


@pytest.mark.parametrize("name", [".gitignore", ".dvcignore"])
def test_a_folder_in_place_of_a_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).mkdir()
    before = set(Path().rglob("*"))
    assert run(init.main, "photos") == 2
    assert f"{name}: cannot be read: [Errno 21] Is a directory" in capsys.readouterr().err
    assert set(Path().rglob("*")) == before


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text("lr: 1\n")
    Path("results").mkdir()
    Path("results/mine.txt").touch()
    before = set(Path().rglob("*"))
    assert run(init.main, "photos") == 2
    said = capsys.readouterr().err
    assert "params.yaml: is there already, and stays as it is: `memtrack init --folder memtrack`" in said
    assert "results: is there already, and memtrack writes to it" in said
    assert set(Path().rglob("*")) == before
    assert run(init.main, "photos", "--folder", "../elsewhere") == 2
    assert run(init.main, "nowhere", "--folder", "audit") == 2
    assert set(Path().rglob("*")) == before


def test_what_prepare_would_refuse_is_refused_before_anything_is_written(
    picture: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    picture("one/cat/1.png")
    before = set(Path().rglob("*"))
    assert run(init.main, "one") == 2
    assert "has one class folder: at least two are needed" in capsys.readouterr().err
    assert run(init.main, ".") == 2
    assert "holds the project itself" in capsys.readouterr().err
    assert set(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("0.5", "1.5", "2"), "'0.5' is no whole one: labels are classes, and regression is not supported"),
        (
            ("a,b", "b,c", "c,a", "a"),
            "are lists of labels, such as 'a,b': memtrack is for one label a sample",
        ),
    ],
)
def test_labels_that_are_no_classes(
    labels: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("raw").mkdir()
    rows = "".join(f'{number},"{label}"\n' for number, label in enumerate(labels * 2))
    Path("raw/t.csv").write_text(f"x,label\n{rows}")
    assert run(init.main, "raw/t.csv") == 2
    assert f"raw/t.csv: {'the labels' if '.' in labels[0] else 'more than half'}" in (
        found := capsys.readouterr().err
    )
    assert said in found
    assert not PARAMS_FILE.exists()


@pytest.mark.parametrize("content", [b"stages: [1]", b"stages: 3", b"a: [", "stages: {}".encode("utf-16")])
def test_a_file_that_is_no_pipeline(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dvc.yaml").write_bytes(content)
    for command in (lambda _: init.main(["photos"]), upgrade.main):
        assert run(command) == 2
        assert "dvc.yaml: " in capsys.readouterr().err
    assert Path("dvc.yaml").read_bytes() == content


def test_a_pipeline_without_stages() -> None:
    Path("dvc.yaml").write_text("stages:\n")
    assert run(init.main, "photos") == 0
    assert run(check.main) == 0


def test_an_older_pipeline_is_shown_and_then_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(upgrade.main) == 2
    assert "dvc.yaml: is not here: `memtrack init` writes one" in capsys.readouterr().err
    older = OURS.read_text().replace("desc: bring the data", "desc: take the data")
    Path("dvc.yaml").write_text(older)
    assert run_here("memtrack upgrade", "README.md") == 0
    assert "-    desc: take the data source" in capsys.readouterr().out
    assert Path("dvc.yaml").read_text() == older
    assert run(upgrade.main, "--write") == 0
    assert Path("dvc.yaml").read_text() == OURS.read_text()
    Path(".dvc/plots/memtrack_roc.json").unlink()
    assert run(upgrade.main) == 0
    said = capsys.readouterr().out
    assert "is up to date" in said
    assert "wrote .dvc/plots/memtrack_roc.json, which `dvc plots` needs" in said
    assert len(list(Path(".dvc/plots").iterdir())) == 2
