"""The code of networks of the user's project: what counts, what is followed, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from placed import placed

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.config.sections.train import OwnModel
from memtrack.config.yaml_file import read_yaml
from memtrack.runs.code import project_code
from memtrack.runs.own_code import own_code, own_packages
from memtrack.runs.reads import network_problems

REPOSITORY = Path(__file__).parents[2]
FILES = {
    "nets/__init__.py": "",
    "nets/one.py": "import json\nimport torch\nfrom . import layers\nfrom .deep.block import Block\n"
    "def build(shape, classes): return Block(shape, classes)\nlater = make = None\n",
    "nets/layers.py": "from typing import TYPE_CHECKING\nimport PIL\n"
    "if TYPE_CHECKING:\n    import nets.other\n",
    "nets/deep/block.py": "def Block(shape, classes):\n    import helper\n"
    "    from ..layers import PIL\n    return helper\n",
    "nets/other.py": "",
    "helper.py": "from memtrack.core.training.models.cnn import cnn\n",
}  # fmt: skip
FOLLOWED = ["helper.py", "nets/__init__.py", "nets/deep/block.py", "nets/layers.py", "nets/one.py"]


@pytest.fixture(autouse=True)
def files(project: Path) -> None:
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def own(make: str = "nets.one:build") -> OwnModel:
    return placed(OwnModel(kind="python", make=make), "train", "model")


def digest() -> str:
    code = own_code(own())
    assert code is not None
    return code.digest


def test_imports_within_the_project_are_followed() -> None:
    code = project_code(Path.cwd(), "nets.one")
    assert [path.relative_to(Path.cwd()).as_posix() for path in code.files] == FOLLOWED
    assert code.packages == {"torch", "PIL"}
    assert len(own_packages(code)) == 1
    assert own_packages(code)[0].lower().startswith("pillow ")


@pytest.mark.parametrize("name", list(FILES))
def test_what_they_do_counts_and_comments_do_not(name: str) -> None:
    before = digest()
    text = FILES[name]
    Path(name).write_text(f'"""What it does."""\n# more\n{text}')
    assert digest() == before
    Path(name).write_text(f"{text}\nchanged = 1\n")
    assert (digest() != before) == (name in FOLLOWED)


def test_the_code_of_memtrack_that_it_uses_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    monkeypatch.setattr("memtrack.runs.code.code_hash", lambda *_: "another")
    assert digest() != before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("nets.two:build", "/nets/two.py: no such file (for a network of an installed package, write a file"),
        ("torch.nn:Linear", "/torch/nn.py: no such file"),
        ("nets.one:built", "/nets/one.py does not define 'built'; it defines Block, build"),
        ("nets.broken:build", "/nets/broken.py:2: "),
    ],
)
def test_mistakes(make: str, said: str) -> None:
    Path("nets/broken.py").write_text("import torch\ndef build(:\n")
    with pytest.raises(InputError) as caught:
        own_code(own(make))
    assert f"params.yaml: train.model.make: {Path.cwd()}{said}" in str(caught.value)


@pytest.mark.parametrize("text", ["from nets.layers import *", "def __getattr__(name): ..."])
def test_names_that_only_running_the_file_tells(text: str) -> None:
    Path("nets/two.py").write_text(text)
    assert own_code(own("nets.two:build")) is not None


def test_memtrack_s_own_networks_have_no_such_code() -> None:
    params = Params.model_validate(yaml.safe_load((REPOSITORY / "params.yaml").read_text()))
    assert own_code(params.train.model) is None


# --- what DVC watches ---------------------------------------------------------------------------


def problems(stages: dict[str, Any] | None, model: dict[str, Any], **recipe: Any) -> list[str]:
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    content["train"]["model"] = model
    if recipe:
        content["memorization"]["recipe"]["model"] = recipe
    Path("params.yaml").write_text(yaml.safe_dump(content))
    if stages is not None:
        Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    source = read_yaml(Path("params.yaml"))
    params = Params.model_validate(content)
    params.place(source)
    return [str(problem) for problem in network_problems(params, source)]


def stage(name: str, *deps: str) -> dict[str, Any]:
    return {name: {"foreach": "${variants}", "do": {"cmd": f"python -m memtrack.stages.{name} ${{key}}",
                                                    "deps": ["data/prepared", *deps]}}}  # fmt: skip


MODEL = {"kind": "python", "make": "nets.one:build"}


@pytest.mark.parametrize("deps", [("nets", "helper.py"), (".",), tuple(FOLLOWED)])
def test_files_that_a_stage_depends_on_are_watched(deps: tuple[str, ...]) -> None:
    assert problems(stage("train", *deps), MODEL) == []


def test_files_that_no_stage_depends_on_are_named() -> None:
    for name, stages in (("train", stage("train", "nets")), ("repeat", stage("repeat", "nets")),
                         ("train", stage("train", "nets", "helper")),
                         ("train, repeat", {**stage("train", "nets"), **stage("repeat")})):  # fmt: skip
        (said,) = problems(stages, MODEL)
        assert "train.model.make: dvc.yaml does not watch helper.py, " in said
        assert said.endswith(f"put it into networks/, or add it to the `deps` of {name}")
    assert problems(stage("evaluate"), MODEL) == []
    Path("dvc.yaml").unlink()
    assert problems(None, MODEL) == []


def test_weights_are_watched_too() -> None:
    statistics = {"mean": [0.5], "std": [0.5]}
    model = {"kind": "torchvision", "weights": "w.pth", **statistics}
    assert "w.pth: no such file" in problems(stage("train", "networks"), model)[0]
    Path("w.pth").touch()
    assert "dvc.yaml does not watch w.pth" in problems(stage("train", "networks"), model)[0]
    Path("networks").mkdir()
    Path("w.pth").rename("networks/w.pth")
    assert problems(stage("train", "networks"), model | {"weights": "networks/w.pth"}) == []
    away = str(Path("networks/w.pth").resolve())
    assert problems(stage("train", "networks"), model | {"weights": away}) == []
    Path(away).rename("/".join([str(Path.cwd()), "v.pth"]))
    (said,) = problems(stage("train", "networks"), model | {"weights": str(Path("v.pth").resolve())})
    assert "does not watch" in said


def test_the_network_of_memorization_is_looked_at_too() -> None:
    stages = {**stage("train", "nets", "helper.py"), **stage("memorization")}
    (said,) = problems(stages, MODEL, **MODEL)
    assert "memorization.recipe.model.make: dvc.yaml does not watch helper.py, nets/__init__.py" in said
    assert said.endswith("add it to the `deps` of memorization")


def test_the_pipeline_of_this_project_watches_the_folder_networks() -> None:
    Path("networks").mkdir()
    Path("networks/mine.py").write_text("def build(shape, classes): ...\n")
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    own = {"kind": "python", "make": "networks.mine:build"}
    assert problems(stages, own, **own) == []
    assert "does not watch helper.py" in problems(stages, MODEL)[0]


def test_none_of_it_is_run() -> None:
    Path("nets/one.py").write_text(f"{FILES['nets/one.py']}\nraise SystemExit\n")
    assert own_code(own()) is not None
