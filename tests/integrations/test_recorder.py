"""The recorder in a training loop: its numbers by brute force, and a loop that does not notice it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import IMAGE, image_network, sample_gradient, surroundings
from looped import example
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import memtrack
from memtrack.config.errors import InputError
from memtrack.core.recording.curvature import rademacher_probe
from memtrack.core.recording.trajectory import Trajectory
from memtrack.core.scores import Need
from memtrack.integrations import samples as samples_module
from memtrack.integrations.recorder import Recorder, unwrapped

REPOSITORY = Path(__file__).parents[2]

COUNT, EPOCHS, SCALE = 40, 3, 0.05
CLASSES = 3
OPTIONS: dict[str, Any] = {"scale": SCALE, "probes": 2, "batch_size": 16}


def data(classes: int = CLASSES) -> TensorDataset:
    draw = torch.Generator().manual_seed(4)
    labels = torch.arange(COUNT) % classes
    return TensorDataset(torch.randn(COUNT, *IMAGE, generator=draw) + labels[:, None, None, None], labels)


def train(recorder: Recorder | None = None, epochs: int = EPOCHS) -> Iterator[nn.Module]:
    """A loop with everything that is random or has a state; yields the network after each epoch."""
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    random.seed(5)
    model = image_network().float()
    model[1].eval()  # a part that the loop keeps in eval mode
    model[0][0].bias.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.02, momentum=0.9)
    for _ in range(epochs):
        for inputs, labels in DataLoader(data(), batch_size=8, shuffle=True):
            if random.random() < np.random.rand():  # noqa: NPY002
                inputs = inputs.flip(3)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        if recorder is not None:
            assert recorder.after_epoch(model)
        yield model


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "weights": {name: value.tolist() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "gradients": [p.grad.tolist() if p.grad is not None else None for p in model.parameters()],
        "trained": [p.requires_grad for p in model.parameters()],
    }


class TestTheLoop:
    @pytest.mark.parametrize("kept", [True, False], ids=["in memory", "read each time"])
    def test_it_goes_on_as_without_a_recorder(
        self, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(samples_module, "KEPT", 2**30 if kept else 0)
        recorder = Recorder(data(), tmp_path, scale=SCALE)
        expected = [state(model) for model in train()]
        assert [state(model) for model in train(recorder)] == expected
        assert recorder.recorded.trajectory.epochs == (1, 2, 3)

    def test_nothing_else_is_changed(self, tmp_path: Path) -> None:
        recorder = Recorder(data(), tmp_path, **OPTIONS)
        model = image_network()
        before = surroundings()
        with torch.no_grad(), torch.autocast("cpu"):
            inside = surroundings()
            recorder.after_epoch(model)
            assert surroundings() == inside
        assert surroundings() == before

    def test_inside_of_inference_mode(self, tmp_path: Path) -> None:
        recorder = Recorder(data(), tmp_path, **OPTIONS)
        model = image_network()
        with torch.inference_mode():
            assert recorder.after_epoch(model)


class TestTheNumbers:
    @pytest.fixture(scope="class")
    @staticmethod
    def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorder, list[nn.Module]]:
        recorder = Recorder(data(), tmp_path_factory.mktemp("loop") / "recorded", **OPTIONS)
        models = []
        for model in train(recorder):
            other = image_network().float()
            other.load_state_dict(model.state_dict())
            models.append(other.eval())
        return recorder, models

    def test_scores_by_brute_force(self, recorded: tuple[Recorder, list[nn.Module]]) -> None:
        recorder, models = recorded
        table = recorder.scores()
        inputs, labels = data().tensors
        for row in (0, 7, 39):
            losses, bends = [], []
            for epoch, model in enumerate(models, start=1):
                sample, label = inputs[row].double(), int(labels[row])
                exact = model.double()
                losses.append(nn.functional.cross_entropy(exact(sample[None]), labels[row : row + 1]).item())
                here = sample_gradient(exact, sample, label)
                for probe in (0, 1):
                    v = rademacher_probe(IMAGE, seed=0, epoch=epoch, probe=probe).double()
                    moved = sample_gradient(exact, sample + SCALE * v, label)
                    bends.append(float((moved - here).norm() / SCALE))
            found = table.loc[str(row)]
            assert found["csl"] == pytest.approx(np.mean(losses), rel=1e-5)
            assert found["curvature"] == pytest.approx(np.mean(bends), rel=1e-3)

    def test_scores_are_those_of_the_core(
        self, recorded: tuple[Recorder, list[nn.Module]], tmp_path: Path
    ) -> None:
        recorder, models = recorded
        trajectory = Trajectory.create(tmp_path, [str(row) for row in range(COUNT)])
        estimator = memtrack.ForwardDifference(SCALE, probes=2)
        for epoch, model in enumerate(models, start=1):
            batches = DataLoader(data(), batch_size=8)
            trajectory.write(epoch, memtrack.record_epoch(model.float(), batches, estimator, epoch=epoch))
        table = recorder.scores()
        names = [name for name, score in memtrack.SCORES.items() if score.needs == (Need.EPOCHS,)]
        assert len(names) > 10
        for name in names:
            expected = memtrack.compute(name, {Need.EPOCHS: trajectory})
            np.testing.assert_allclose(table[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)

    def test_neighbours_by_all_distances(self, recorded: tuple[Recorder, list[nn.Module]]) -> None:
        """They are the nearest by the cosine of centred features; the share of those that vote with another
        label. The classes have 13 and 14 samples."""
        recorder, models = recorded
        inputs, labels = data().tensors
        near = recorder.recorded.evidence[Need.NEIGHBOURS]
        for epoch, model in enumerate(models, start=1):
            with torch.no_grad():
                found = model[:-1].float()(inputs).numpy()
            found = found - found.mean(axis=0)
            found = found / np.linalg.norm(found, axis=1, keepdims=True)
            alike = found @ found.T
            np.fill_diagonal(alike, -2)
            rows = near.nearest(30, epoch)
            assert rows.shape == (COUNT, 30)
            own = np.take_along_axis(alike, rows, axis=1)
            np.testing.assert_allclose(own, -np.sort(-alike, axis=1)[:, :30], atol=1e-5)
        pixels = near.nearest(6)
        expected = [
            (labels[torch.from_numpy(rows)] != label).float().mean()
            for rows, label in zip(pixels, labels, strict=True)
        ]
        np.testing.assert_allclose(recorder.scores()["neighbours_pixels"], expected, rtol=1e-6)

    def test_the_table(self, recorded: tuple[Recorder, list[nn.Module]]) -> None:
        recorder, models = recorded
        table = recorder.scores()
        inputs, labels = data().tensors
        assert table.index.tolist() == [str(row) for row in range(COUNT)]
        assert table["given_label"].tolist() == labels.tolist()
        with torch.no_grad():
            predicted = models[-1].float()(inputs).argmax(1)
        assert table["predicted_label"].tolist() == predicted.tolist()
        assert table.columns[:5].tolist() == [
            "given_label", "predicted_label", "suggested_label", "kind", "suspicion",
        ]  # fmt: skip
        assert not table.isna().any().any()


class TestWhichEpochs:
    def test_some(self, tmp_path: Path) -> None:
        recorder = Recorder(data(), tmp_path, **OPTIONS, epochs=range(2, 9, 2))
        model = image_network()
        assert [recorder.after_epoch(model) for _ in range(5)] == [False, True, False, True, False]
        assert recorder.recorded.trajectory.epochs == (2, 4)

    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no epoch was recorded"):
            Recorder(data(), tmp_path, **OPTIONS).scores()

    def test_by_number(self, tmp_path: Path) -> None:
        recorder = Recorder(data(), tmp_path, **OPTIONS)
        model = image_network()
        recorder.after_epoch(model, epoch=7)
        recorder.after_epoch(model)
        assert recorder.recorded.trajectory.epochs == (7, 8)


OTHERS = {
    "other ids": ({"ids": [f"s{row}" for row in range(COUNT)]}, r"another data set \(other ids\)"),
    "other labels": ({"data": data(2)}, r"another data set \(other labels, inputs\)"),
    "another scale": ({"scale": 0.1}, r"in another way \(scale is 0.1, before 0.05\)"),
    "other probes": ({"probes": 1, "method": "central"}, "method is 'central', before 'forward'; p"),
}  # fmt: skip


class TestAFolderThatIsThere:
    def test_a_loop_that_is_run_again_measures_nothing_twice(self, tmp_path: Path) -> None:
        first = Recorder(data(), tmp_path, **OPTIONS)
        for _ in train(first, epochs=2):
            pass
        scores = first.scores()
        again = Recorder(data(), tmp_path, **OPTIONS)
        measured = [again.after_epoch(model) for model in train(epochs=3)]
        assert measured == [False, False, True]
        assert again.scores().shape == scores.shape
        assert again.recorded.trajectory.epochs == (1, 2, 3)

    def test_an_epoch_that_is_damaged_is_measured_again(self, tmp_path: Path) -> None:
        recorder, model = Recorder(data(), tmp_path, **OPTIONS), image_network()
        recorder.after_epoch(model, epoch=1)
        file = recorder.recorded.trajectory.file("loss", 1)
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        with pytest.raises(InputError, match=r"epoch_0001\.npy: is damaged: record this epoch once more"):
            recorder.scores()
        assert recorder.after_epoch(model, epoch=1)
        assert file.read_bytes() == whole

    def test_damaged_neighbours(self, tmp_path: Path) -> None:
        recorder, model = Recorder(data(), tmp_path, **OPTIONS), image_network()
        recorder.after_epoch(model, epoch=1)
        (tmp_path / "neighbours/epoch_0001.npy").unlink()
        with pytest.raises(InputError, match=r"neighbours/epoch_0001\.npy: is damaged"):
            recorder.scores()

    def test_other_weights(self, tmp_path: Path) -> None:
        recorder, model = Recorder(data(), tmp_path, **OPTIONS), image_network()
        recorder.after_epoch(model)
        nn.init.zeros_(model[-1].bias)
        with pytest.raises(
            ValueError, match=r"has epoch 1 of a network with other weights\. .*overwrite=True"
        ):
            Recorder(data(), tmp_path, **OPTIONS).after_epoch(model)
        assert Recorder(data(), tmp_path, **OPTIONS, overwrite=True).after_epoch(model)

    @pytest.mark.parametrize("name", list(OTHERS))
    def test_another_recording(self, name: str, tmp_path: Path) -> None:
        Recorder(data(), tmp_path, **OPTIONS)
        options, message = OTHERS[name]
        with pytest.raises(ValueError, match=message):
            Recorder(**{"data": data(), "folder": tmp_path, **OPTIONS, **options})

    def test_files_of_others(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        for overwrite in (False, True):
            with pytest.raises(ValueError, match="is not the folder of a recorder: choose a new one"):
                Recorder(data(), tmp_path, **OPTIONS, overwrite=overwrite)
        assert (tmp_path / "thesis.txt").read_text() == "mine"

    def test_a_beginning_that_was_stopped(self, tmp_path: Path) -> None:
        Recorder(data(), tmp_path, **OPTIONS)
        (tmp_path / "manifest.json").unlink()
        assert Recorder(data(), tmp_path, **OPTIONS).after_epoch(image_network())

    def test_a_sweep_that_fails_leaves_no_epoch(self, tmp_path: Path) -> None:
        recorder, model = Recorder(data(), tmp_path, **OPTIONS), image_network()
        nn.init.constant_(model[-1].bias, float("nan"))
        with pytest.raises(FloatingPointError, match="the training has diverged"):
            recorder.after_epoch(model)
        assert Trajectory(tmp_path / "trajectory").epochs == ()


class Outputs(nn.Module):
    """A network whose logits are a part of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.network = image_network()

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"logits": self.network(inputs)}


WRONG = {
    "scale": ({"scale": 0.0}, "scale"),
    "method": ({"method": "best"}, "method is 'best'"),
    "batch size": ({"batch_size": 0}, "batch_size is 0"),
    "one text as names": ({"classes": "abc"}, "classes is 'abc': it should be a list"),
    "class names": ({"classes": ["a", "b"]}, "2 names of classes: labels up to 2 need 3"),
    "equal names": ({"classes": ["a", "b", "a"]}, "3 different ones"),
}  # fmt: skip


class TestMistakes:
    def test_no_logits(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"for 2 samples the model gives a dict: .*put it into a module"):
            Recorder(data(), tmp_path, **OPTIONS).after_epoch(Outputs())

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_probabilities_are_no_logits(self, precision: str, tmp_path: Path) -> None:
        kind = getattr(torch, precision)
        model = nn.Sequential(image_network(), nn.Softmax(1)).to(kind)
        with pytest.raises(ValueError, match="probabilities: it should give logits"):
            Recorder(data(), tmp_path, **OPTIONS).after_epoch(model)
        log_probabilities = nn.Sequential(image_network(), nn.LogSoftmax(1)).to(kind)
        assert Recorder(data(), tmp_path, **OPTIONS).after_epoch(log_probabilities)

    def test_a_label_out_of_range(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="labels are 0 to 4: with 3 logits they should be 0 to 2"):
            Recorder(data(5), tmp_path, **OPTIONS).after_epoch(image_network())

    @pytest.mark.parametrize("name", list(WRONG))
    def test_options(self, name: str, tmp_path: Path) -> None:
        options, message = WRONG[name]
        with pytest.raises(ValueError, match=message):
            Recorder(data(), tmp_path, **{**OPTIONS, **options})


class TestKindsOfNetworks:
    def test_without_neighbours(self, tmp_path: Path) -> None:
        recorder = Recorder(data(), tmp_path, **OPTIONS, neighbours=False)
        recorder.after_epoch(image_network())
        table = recorder.scores()
        assert "curvature" in table
        assert not {"suspicion", "neighbours"} & set(table)
        assert set(table["suggested_label"]) == {-1}

    def test_vectors(self, tmp_path: Path) -> None:
        vectors, labels = data().tensors[0].flatten(1), data().tensors[1]
        recorder = Recorder((vectors.numpy(), labels.numpy()), tmp_path, **OPTIONS)
        recorder.after_epoch(nn.Sequential(nn.Linear(vectors.shape[1], 8), nn.ReLU(), nn.Linear(8, 3)))
        assert recorder.scores()["suspicion"].between(0, 1).all()

    def test_wrapped(self, tmp_path: Path) -> None:
        model = image_network()
        compiled = torch.compile(model, backend="eager")
        assert unwrapped(nn.DataParallel(compiled)) is model
        recorder = Recorder(data(), tmp_path, **OPTIONS)
        recorder.after_epoch(model)
        assert not recorder.after_epoch(compiled, epoch=1)  # the weights are the same

    def test_cut_into_pieces(self, tmp_path: Path) -> None:
        """The first process alone cannot put the pieces together: all of them would wait forever."""
        from torch.distributed.fsdp import fully_shard

        store, model = torch.distributed.HashStore(), image_network()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            mesh = torch.distributed.init_device_mesh("cpu", (1,))
            fully_shard(model, mesh=mesh)
            with pytest.raises(ValueError, match=r"cut into pieces on several devices \(FSDP"):
                Recorder(data(), tmp_path, **OPTIONS).after_epoch(model)
        finally:
            torch.distributed.destroy_process_group()

    def test_only_the_first_process_records(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        assert not Recorder(data(), tmp_path / "other", **OPTIONS).after_epoch(image_network())
        assert not (tmp_path / "other").exists()


class TestTheDocumentation:
    def test_the_three_lines(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        text = (REPOSITORY / "docs/own_loop.md").read_text(encoding="utf-8")
        snippet = text.partition("```python\n")[2].partition("```")[0]
        loop = {"samples": data(), "model": image_network().float(), "train_one_epoch": lambda model: None}
        exec(snippet.replace("31", "3"), loop)
        assert Trajectory(tmp_path / "recorded/trajectory").epochs == (1, 2)

    def test_the_example(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = example("plain_loop", tmp_path, monkeypatch, capsys)
        assert found["suspicion"] > 0.9
