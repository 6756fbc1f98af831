"""A folder that is read back is whole, unchanged and the one that is wanted, or a message says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrack.config.errors import InputError
from memtrack.data.manifest import MANIFEST, KeptFolder, write_manifest

FOLDER = Path("kept")
MADE_FROM = {"variant": "noisy", "numbers": [1, 0.5, None], "train": {"lr": 0.1, "seed": 0}}


@pytest.fixture(autouse=True)
def kept(project: Path) -> None:
    (FOLDER / "deep").mkdir(parents=True)
    (FOLDER / "a.csv").write_text("id\n1\n")
    (FOLDER / "deep/b.bin").write_bytes(bytes(range(256)))
    (project / "beside.json").write_text("{}")
    write_manifest(FOLDER, MADE_FROM)


def opened() -> KeptFolder:
    return KeptFolder(FOLDER, "run `dvc repro it`")


def test_what_was_written_is_read() -> None:
    found = opened()
    assert found.made_from == MADE_FROM
    assert set(found.files) == {"a.csv", "deep/b.bin"}
    found.check_all()
    assert found.file("deep/b.bin").read_bytes() == bytes(range(256))
    found.require(variant="noisy", numbers=[1, 0.5, None])
    found.require("train", lr=0.1, seed=0)


@pytest.mark.parametrize(
    "harm",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "deep/b.bin"])
def test_a_file_that_was_changed(name: str, harm: Callable[[Path], Any]) -> None:
    harm(FOLDER / name)
    for read in (lambda: opened().file(name), lambda: opened().check_all()):
        with pytest.raises(InputError, match=f"kept/{name}: is .*: run `dvc repro it`"):
            read()


def test_a_file_that_is_not_in_the_manifest() -> None:
    (FOLDER / "new.csv").write_text("")
    with pytest.raises(InputError, match=r"kept/new\.csv: is damaged or was changed"):
        opened().file("new.csv")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"made_from": {}}', '{"made_from": 1, "files": 2}']
)
def test_a_manifest_that_is_missing_or_damaged(text: str | None) -> None:
    (FOLDER / MANIFEST).unlink()
    if text is not None:
        (FOLDER / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"kept/manifest\.json: is (not there|damaged): run `dvc repro it`"):
        opened()


def test_no_folder() -> None:
    with pytest.raises(InputError, match=r"^nowhere: is not there: run `dvc repro it`"):
        KeptFolder(Path("nowhere"), "run `dvc repro it`")


def test_made_from_something_else() -> None:
    with pytest.raises(InputError, match=r"different: variant, rate\): run `dvc repro it`"):
        opened().require(variant="clean", numbers=[1, 0.5, None], rate=0.1)
    for part in ("train", "numbers", "nothing"):
        with pytest.raises(InputError, match="different: lr"):
            opened().require(part, lr=0.2)


def test_errors_of_a_reader_are_damage() -> None:
    for error in (ValueError, KeyError, IndexError, EOFError):
        with pytest.raises(InputError, match=r"a\.csv: is damaged: run"), opened().reading("a.csv"):
            raise error
    with pytest.raises(PermissionError), opened().reading("a.csv"):
        raise PermissionError


def test_named_files_only_and_files_beside_it() -> None:
    write_manifest(FOLDER, {}, {"a.csv": FOLDER / "a.csv", "../beside.json": Path("beside.json")})
    (FOLDER / "deep/b.bin").unlink()
    opened().check_all()
    Path("beside.json").write_text("[]")
    with pytest.raises(InputError, match=r"beside\.json: is damaged or was changed"):
        opened().check_all()


def test_the_identity_is_that_of_the_files() -> None:
    first = opened().identity
    write_manifest(FOLDER, {})
    assert opened().identity == first
    (FOLDER / "a.csv").write_text("id\n2\n")
    write_manifest(FOLDER, MADE_FROM)
    assert opened().identity != first
    assert json.loads((FOLDER / MANIFEST).read_text())["made_from"] == MADE_FROM
