"""Networks from a file of the project; every mistake in it is said with what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from memtrack.core.training.models import build
from memtrack.core.training.models.own import WrongFunction

GOOD = """
from torch import nn
from .layers import body

def build(shape, classes, *, width=4):
    return nn.Sequential(nn.Flatten(), body(shape, width), nn.Linear(width, classes))

class Net(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))

def nothing(shape, classes): pass
def fails(shape, classes):
    return nn.Linear("a", classes)
def swapped(classes, *, shape): pass
"""
LAYERS = """
from torch import nn

def body(shape, width):
    return nn.Linear(shape[0] * shape[1] * shape[2], width)
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a folder of networks, on no path of Python's."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "good.py").write_text(GOOD)
    (folder / "layers.py").write_text(LAYERS)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "nets"]:
        del sys.modules[name]


def made(nets: Path, make: str, **options: Any) -> nn.Module:
    return build("python", (1, 3, 3), 5, root=str(nets.parent), make=make, options=options)


def refused(nets: Path, make: str, key: str = "make", **options: Any) -> str:
    with pytest.raises(WrongFunction) as caught:
        made(nets, make, **options)
    assert caught.value.key == key
    return str(caught.value)


@pytest.mark.parametrize(("make", "options"), [("nets.good:build", {"width": 6}), ("nets.good:Net", {})])
def test_a_function_or_a_class_makes_the_network(nets: Path, make: str, options: dict[str, Any]) -> None:
    assert made(nets, make, **options)(torch.zeros(2, 1, 3, 3)).shape == (2, 5)


def test_the_file_of_another_project_is_not_used(nets: Path, tmp_path: Path) -> None:
    made(nets, "nets.good:build")
    other = tmp_path / "other" / "nets"
    other.mkdir(parents=True)
    (other / "good.py").write_text("from torch import nn\ndef build(shape, classes): return nn.Identity()\n")
    assert isinstance(made(other, "nets.good:build"), nn.Identity)


def test_a_function_that_is_not_there(nets: Path) -> None:
    assert refused(nets, "nets.bad:build").startswith(f"{nets}/bad.py: no such file")
    assert refused(nets, "torch.nn:Linear").startswith(f"{nets.parent}/torch/nn.py: no such file")
    assert refused(nets, "nets.good:buidl") == (
        f"{nets}/good.py has no function 'buidl'; it has body, build, nothing, fails, swapped"
    )


def test_a_function_of_another_signature(nets: Path) -> None:
    said = refused(nets, "nets.good:build", "options", depth=3)
    assert said == "do not fit build(shape, classes, *, width=4): got an unexpected keyword argument 'depth'"
    assert "swapped(classes, *, shape) should take the shape" in refused(nets, "nets.good:swapped")


def test_a_function_that_fails_or_makes_no_network(nets: Path) -> None:
    line = GOOD.splitlines().index('    return nn.Linear("a", classes)') + 1
    said = refused(nets, "nets.good:fails")
    assert said.startswith(f"nets.good:fails failed: {nets}/good.py:{line}: TypeError: ")
    assert refused(nets, "nets.good:nothing") == (
        "nets.good:nothing returned None: it should return a torch.nn.Module"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [("def build(:", ":1: invalid syntax"),
     ("import torch\n1 / 0", ":2: ZeroDivisionError: division by zero"),
     ("import no_such_package", ":1: ModuleNotFoundError: No module named 'no_such_package'")],
)  # fmt: skip
def test_a_file_that_cannot_be_imported(nets: Path, text: str, said: str) -> None:
    (nets / "broken.py").write_text(text)
    found = refused(nets, "nets.broken:build")
    assert found == f"{nets}/broken.py cannot be imported: {nets}/broken.py{said}"


def test_a_folder_with_the_name_of_a_package(nets: Path) -> None:
    for name in ("json", "numpy"):
        folder = nets.parent / name
        folder.mkdir()
        (folder / "mine.py").write_text(LAYERS)
        assert f"{name} is also the name of a package that is installed" in refused(nets, f"{name}.mine:body")
    assert sys.modules["numpy"].zeros(2).shape == (2,)
