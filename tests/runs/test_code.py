"""Which code shapes a result, in a package made for the test, and in memtrack itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from memtrack.runs import code
from memtrack.runs.code import closure, code_hash, stage_hash


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package in the place of memtrack."""
    folder = tmp_path / "memtrack"
    folder.mkdir()
    monkeypatch.setattr(code, "PACKAGE", folder)
    return folder


def write(modules: dict[str, str]) -> None:
    """Write modules by their dotted names below memtrack; `a.__init__` is a package."""
    for name, text in modules.items():
        path = code.PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def found(*entries: str, **options: dict[str, str]) -> list[str]:
    return [path.relative_to(code.PACKAGE).as_posix() for path in closure(*entries, **options)]


class TestClosure:
    def test_every_way_to_import_is_followed(self) -> None:
        start = """
import memtrack.plain
from memtrack import name
from memtrack.room import inner, x
import numpy

def late():
    from memtrack.late import y
"""
        write(
            {
                "start": start,
                "plain": "",
                "name": "from memtrack.deep.er import z",
                "room.__init__": "",
                "room.inner": "",
                "room.other": "",
                "late": "",
                "deep.__init__": "from memtrack.by_package import q",
                "deep.er": "",
                "by_package": "",
                "nobody": "",
            }
        )
        expected = ["by_package.py", "deep/__init__.py", "deep/er.py", "late.py", "name.py", "plain.py"]
        assert found("memtrack.start") == [*expected, "room/__init__.py", "room/inner.py", "start.py"]

    def test_circles_end(self) -> None:
        write({"one": "import memtrack.other", "other": "import memtrack.one"})
        assert found("memtrack.one") == found("memtrack.other") == ["one.py", "other.py"]

    def test_what_type_checkers_alone_import_is_not_followed(self) -> None:
        start = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import memtrack.a
else:
    import memtrack.b
"""
        write({"start": start, "a": "", "b": ""})
        assert found("memtrack.start") == ["b.py", "start.py"]

    def test_what_is_left_out_is_not_followed(self) -> None:
        modules = {"start": "import memtrack.room.inner, memtrack.single, memtrack.kept"}
        modules |= {"room.__init__": "", "room.inner": "import memtrack.beyond", "beyond": ""}
        write(modules | {"single": "import memtrack.beyond", "kept": ""})
        left_out = {"memtrack.room": "why", "memtrack.single": "why"}
        assert found("memtrack.start", left_out=left_out) == ["kept.py", "start.py"]

    def test_an_init_alone_can_be_left_out(self) -> None:
        write({"room.__init__": "", "room.inner": ""})
        assert found("memtrack.room.inner") == ["room/__init__.py", "room/inner.py"]
        files = found("memtrack.room.inner", left_out={"memtrack.room.__init__": "why"})
        assert files == ["room/inner.py"]

    def test_the_parameters_take_names_from_the_core_and_no_code(self) -> None:
        write(
            {
                "start": "import memtrack.config.params",
                "config.__init__": "",
                "config.params": "import memtrack.config.sections, memtrack.core",
                "config.sections": "",
                "core": "",
            }
        )
        config = ["config/__init__.py", "config/params.py", "config/sections.py"]
        assert found("memtrack.start") == [*config, "start.py"]


class TestStageHash:
    MODULES: ClassVar = {
        "__init__": "", "stages.__init__": "", "stages.one": "import memtrack.room.inner, memtrack.config",
        "stages.two": "import memtrack.other", "room.__init__": "", "room.inner": "x = 1", "room.beside": "",
        "other": "", "config.__init__": "limit = 1",
    }  # fmt: skip

    def changed_by(self, name: str, text: str) -> list[str]:
        """The stages whose hash is another one after a file was written."""
        write(self.MODULES)
        before = [stage_hash(stage) for stage in ("one", "two")]
        path = code.PACKAGE / name
        path.write_text(text, encoding="utf-8")
        after = [stage_hash(stage) for stage in ("one", "two")]
        return [stage for stage, old, new in zip(("one", "two"), before, after, strict=True) if old != new]

    def test_what_a_stage_runs_counts(self) -> None:
        assert self.changed_by("room/inner.py", "x = 2") == ["one"]
        assert self.changed_by("other.py", "x = 2") == ["two"]
        assert self.changed_by("stages/two.py", "") == ["two"]

    def test_defaults_and_templates_count(self) -> None:
        assert self.changed_by("config/__init__.py", "limit = 2") == ["one"]
        assert self.changed_by("room/page.html", "<p>") == ["one"]

    def test_comments_and_other_files_do_not_count(self) -> None:
        assert self.changed_by("room/inner.py", "x = 1  # one") == []
        assert self.changed_by("room/beside.py", "x = 2") == []
        assert self.changed_by("room/notes.txt", "x = 2") == []


CODE = '''"""A module."""

import math

LIMIT = 3
"""So many."""


class Shape:
    """A shape."""

    side: float = 1.0

    def area(self, scale: float = 2.0) -> float:
        """How large it is."""
        if self.side > LIMIT:
            return math.inf
        return scale * self.side**2


def name(shape: Shape) -> str:
    text = "a shape"
    return text
'''


def hashed(text: str) -> str:
    write({"module": text})
    return code_hash("memtrack.module")


def test_the_hash_is_the_same_in_every_version_of_python() -> None:
    """This one comes from 3.11, 3.12 and 3.13, whose `ast.dump` differ."""
    assert hashed(CODE)[:16] == "b0cc1599ae1edab7"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Something else, in\n\nmany lines."""'),
        ('"""So many."""', '"""So many\u00e9."""'),
        ('"""A shape."""', "'A shape'"),
        ('"""How large it is."""', '"""Its size."""'),
        ("import math\n", "# a comment\nimport math  # another\n\n\n"),
        ("LIMIT = 3", "LIMIT   =   3"),
        ("    return text", "    return (\n        text\n    )"),
        ('"a shape"', "'a shape'"),
        ('"a shape"', '"a " "shape"'),
        ("scale * self.side**2", "(scale * (self.side ** 2))"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert hashed(CODE.replace(old, new)) == hashed(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('    text = "a shape"', '    """What it is called."""\n    text = "a shape"'),
        ('        """How large it is."""\n', ""),
        ('"""A module."""\n', ""),
        ('"""So many."""\n', ""),
    ],
)
def test_a_docstring_more_or_less_does_not_count(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert hashed(CODE.replace(old, new)) == hashed(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", "LIMIT = True"),
        ("> LIMIT", ">= LIMIT"),
        ("scale: float = 2.0", "scale: float = 2.5"),
        ("scale * self", "scale + self"),
        ("self.side**2", "self.side**-2"),
        ('"a shape"', '"a  shape"'),
        ("        return scale", "            return scale"),
        ("import math", "import cmath as math"),
        ("math.inf", "-math.inf"),
        ("return text", "return None"),
        ("return text", 'return """text"""'),
        ("def name", "@staticmethod\ndef name"),
        ("    return text\n", "    return text\n\n\nLIMIT = 3\n"),
    ],
)
def test_what_the_code_does_counts(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert hashed(CODE.replace(old, new)) != hashed(CODE)


def test_every_file_and_its_name_count() -> None:
    write({"a": "LIMIT = 1", "b": "LIMIT = 2", "c": "LIMIT = 1", "both": "import memtrack.a, memtrack.b"})
    entries = [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("both",)]
    hashes = {code_hash(*(f"memtrack.{name}" for name in names)) for names in entries}
    assert len(hashes) == len(entries)
    assert code_hash("memtrack.a", "memtrack.b") == code_hash("memtrack.b", "memtrack.a")


def test_the_parameters_count_by_value() -> None:
    write({"start": "import memtrack.config", "config": "LIMIT = 1"})
    before = code_hash("memtrack.start")
    write({"config": "LIMIT = 2"})
    assert code_hash("memtrack.start") == before


class TestOfMemtrack:
    @pytest.fixture(autouse=True)
    def package(self) -> None:
        """memtrack itself."""

    TRAINING = ("core/training/trainer.py", "core/training/models/cnn.py", "core/images/pixels.py",
                "core/images/normalization.py", "data/batches.py", "data/decoding.py", "data/variants.py",
                "runs/networks.py")  # fmt: skip
    RECORDING = ("core/recording/curvature.py", "core/recording/eval_mode.py", "core/recording/precision.py",
                 "core/recording/recorder.py")  # fmt: skip

    def test_training_depends_on_what_shapes_the_network_and_not_on_recording_or_scores(self) -> None:
        files = found("memtrack.runs.fitting", left_out={**code.SHAPES_NO_NUMBERS, **code.KNOWN_BY_VALUE})
        assert set(self.TRAINING) <= set(files)
        assert not [name for name in files if name.startswith(("core/recording", "core/scores", "config"))]

    def test_recording_depends_on_the_sweep_and_not_on_scores(self) -> None:
        files = found("memtrack.runs.recording", left_out={**code.SHAPES_NO_NUMBERS, **code.KNOWN_BY_VALUE})
        assert set(self.RECORDING) <= set(files)
        assert not [name for name in files if name.startswith(("core/scores", "core/training/trainer"))]

    def test_what_is_left_out_is_there_and_has_a_reason(self) -> None:
        for name, reason in {**code.SHAPES_NO_NUMBERS, **code.CHECKS_ONLY, **code.KNOWN_BY_VALUE}.items():
            assert reason
            path = code.PACKAGE.joinpath(*name.split(".")[1:])
            assert path.is_dir() or path.with_suffix(".py").is_file(), name
