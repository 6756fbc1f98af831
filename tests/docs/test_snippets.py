"""Every snippet of the documentation: Python is run and parameters are loaded, here. Commands are run by
other tests, which take them from the pages with the functions of tests/shared/pages.py; a command that no
test takes fails here.

A comment `<!-- not run: reason -->` goes before a snippet that no test can run."""

from __future__ import annotations

import ast
import csv
import importlib.util
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pages import REPOSITORY, Block, blocks, first_command, indented
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

from memtrack.cli.main import COMMANDS
from memtrack.config import params
from memtrack.core.recording.quantities import QUANTITIES
from memtrack.core.recording.trajectory import Trajectory

DOCS = sorted(f"docs/{path.name}" for path in REPOSITORY.glob("docs/*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *DOCS]
SECTIONS = set(params.Params.model_fields)


def names(block: Block) -> str:
    return f"{Path(block.page).name}:{block.line}"


SHOWN = [block for page in PAGES for block in indented(page)]
FENCED = [block for page in PAGES for block in blocks(page)]


def is_yaml(block: Block) -> bool:
    return re.match(r"\w+:\s", block.text) is not None


def is_formula(block: Block) -> bool:
    return re.match(r"\w+(\(.*?\))? +=", block.text) is not None


def is_table(block: Block) -> bool:
    return block.text.startswith("id,")


COMMANDED = [
    block for block in [*SHOWN, *FENCED]
    if block.language == "shell"
    or not (block.language or is_yaml(block) or is_table(block) or is_formula(block))
]  # fmt: skip


def test_snippets_are_found() -> None:
    """Otherwise the tests below would say nothing."""
    assert {block.language for block in FENCED} == {"python", "shell", "text"}
    assert len(SHOWN) > 35
    assert len(COMMANDED) > 15
    shell = [block for block in FENCED if block.language == "shell" and not block.reason]
    assert {block.page for block in shell} == {"docs/quickstart.md", "docs/two_people.md"}


# --- parameters ---------------------------------------------------------------------------------


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A change of params.yaml; a section of another kind replaces what is there."""
    found = dict(base)
    for key, value in change.items():
        below = found.get(key)
        same = isinstance(below, dict) and isinstance(value, dict)
        same = same and value.get("kind", below.get("kind")) == below.get("kind")
        found[key] = merged(below, value) if same else value
    return found


@pytest.mark.parametrize("block", [block for block in SHOWN if is_yaml(block)], ids=names)
def test_parameters_are_such(block: Block) -> None:
    change = yaml.safe_load(block.text)
    if not change.keys() <= SECTIONS:
        change = {"variants": change}
    base = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    if "variants" in change:
        base["variants"]["clean"] = {"kind": "none", "labels": "data/prepared"}
    model = change.get("train", {}).get("model", {})
    if model.get("kind") == "python":
        Path("networks").mkdir()
        Path("networks/resnet.py").write_text(python_of("docs/networks.md")[0].text)
        Path("networks/layers.py").write_text("def block(*arguments): ...\n")
    Path("params.yaml").write_text(yaml.safe_dump(merged(base, change)))
    loaded = params.load()
    for name in change.keys() & SECTIONS:
        assert getattr(loaded, name) is not None


# --- tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [block for block in SHOWN if is_table(block)], ids=names)
def test_tables_have_as_many_cells_as_their_header(block: Block) -> None:
    header, *rows = csv.reader(io.StringIO(block.text), strict=True)
    assert rows
    assert {len(row) for row in rows} == {len(header)}


# --- commands -----------------------------------------------------------------------------------


def taken() -> set[tuple[str, str]]:
    """The commands that tests take from the pages, and run: the page and the text of each."""
    found = set()
    for path in REPOSITORY.glob("tests/**/*.py"):
        code = path.read_text(encoding="utf-8")
        if "from pages import" not in code or path == Path(__file__):
            continue
        for node in ast.walk(ast.parse(code)):
            match node:
                case ast.Call(func=ast.Name(id="command" | "run_here"), args=[ast.Constant(text), *others]):
                    pages = [ast.literal_eval(page) for page in others]  # they must be written out
                    found |= {(page, first_command(text, page)) for page in pages}
                case ast.Call(func=ast.Name(id="blocks" | "indented" as kind), args=[ast.Constant(page)]):
                    assert "run_shell(" in code, path
                    whole = blocks(page) if kind == "blocks" else indented(page)
                    found |= {(page, command) for block in whole for command in block.commands}
    return found


TAKEN = taken()
RUN_ELSEWHERE = {
    "cd ": "`pages.run_shell` follows it",
    "make test": "runs what you read",
    "pip install ": "tests/test_package.py installs the wheel; everything else is installed",
}


@pytest.mark.parametrize("block", [block for block in COMMANDED if not block.reason], ids=names)
def test_commands_are_run(block: Block) -> None:
    """By a test that takes them with `command` or `run_here`, or a block for `run_shell`."""
    programs = [command for command in block.commands if not command.startswith(tuple(RUN_ELSEWHERE))]
    assert not [command for command in programs if (block.page, command) not in TAKEN], "no test runs these"


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for command in re.findall(r"^    (make .*)$|`((?:make|memtrack|python -m) [^`]+)`", text, re.M):
        match "".join(command).split():
            case ["make", target, *_]:
                assert f"\n{target}: " in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
            case ["memtrack", name, *_]:
                assert name in {*COMMANDS, "COMMAND"}
            case [_, _, module, *_]:
                assert importlib.util.find_spec(module)


# --- Python -------------------------------------------------------------------------------------


def python_of(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def prepared(page: str) -> dict[str, Any]:
    """What the snippets of a page take as given."""
    torch.manual_seed(0)
    inputs, labels = torch.rand(24, 1, 8, 8), torch.arange(24) % 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    given: dict[str, Any] = {
        "model": model, "inputs": inputs, "labels": labels, "samples": (inputs, labels), "epochs": 2,
        "train_one_epoch": lambda network: None, "ids": [str(number) for number in range(24)],
        "batches": [(inputs, labels)],
    }  # fmt: skip
    if page == "docs/own_loop.md":
        for number in range(4):
            Path(f"photos/{'ab'[number % 2]}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40)).save(f"photos/{'ab'[number % 2]}/{number}.png")
        given |= vars(transforms) | {"ImageFolder": ImageFolder, "plain": [transforms.ToTensor()]}
    if page == "docs/networks.md":
        Path("networks").mkdir()
        layers = "from torch import nn\nblock = lambda *sides: nn.Conv2d(*sides, 3)\n"
        Path("networks/layers.py").write_text(layers)
    if page == "docs/memorization.md":
        draw = np.random.default_rng(0)
        folder = Path("results/memorization/clean")
        folder.mkdir(parents=True)
        right = draw.integers(0, 2, (30, 10), dtype=np.uint8)
        np.savez(folder / "networks.npz", test=np.packbits(right, axis=1), numbers=np.arange(30))
        given |= {"tests": 10, "samples": 40}
    if page == "docs/comparing.md":
        folder = Path("results/train/symmetric10")
        folder.mkdir(parents=True)
        Path("data/variants/symmetric10").mkdir(parents=True)
        rows = "".join(f"{number},{int(number < 6)}\n" for number in range(24))
        Path("data/variants/symmetric10/labels.csv").write_text(f"id,corrupted\n{rows}")
        trajectory = Trajectory.create(folder / "trajectory", given["ids"])
        for epoch in (2, 4):
            draw = np.random.default_rng(epoch)
            arrays = {name: draw.random(24).astype(kind) for name, kind in QUANTITIES.items()}
            trajectory.write(epoch, [arrays])
    return given


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)])
def test_python_runs(page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known = prepared(page)
    monkeypatch.syspath_prepend(Path.cwd())
    for block in python_of(page):
        if not block.reason:
            shutil.rmtree("recorded", ignore_errors=True)
            code = compile("\n" * block.line + block.text, str(REPOSITORY / page), "exec")
            exec(code, known)
    assert "  ...  " not in capsys.readouterr().out, "a table that is printed lacks columns"
