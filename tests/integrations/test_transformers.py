"""The callback in a training by Hugging Face's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from looped import example, same_as_plainly_recorded
from torch import nn

from memtrack.integrations.recorder import Recorder

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

COUNT, EPOCHS = 48, 2


def data() -> list[dict[str, Any]]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(COUNT, 1, 8, 8, generator=draw)
    return [{"pixel_values": image + row % 3, "labels": row % 3} for row, image in enumerate(images)]


def model() -> nn.Module:
    """A small vision transformer with random weights, which needs no download."""
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, num_labels=3, hidden_dropout_prob=0.1,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


class Ends(transformers.TrainerCallback):  # type: ignore[name-defined]
    """Keeps the weights at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_epoch_end(self, *_: Any, model: nn.Module, **__: Any) -> None:
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})


def trained(folder: Path, *callbacks: Any, **options: Any) -> nn.Module:
    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=EPOCHS, per_device_train_batch_size=16, use_cpu=True, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=3, learning_rate=0.01, **options,
    )  # fmt: skip
    transformers.set_seed(3)
    trainer = transformers.Trainer(model(), arguments, train_dataset=data(), callbacks=list(callbacks))
    trainer.train()
    return trainer.model


def test_a_training(tmp_path: Path) -> None:
    """It is the same as without the callback, and the numbers and scores are those of a plain recorder."""
    from memtrack.integrations.transformers import MemtrackCallback

    recorder, ends = Recorder(data(), tmp_path / "recorded", batch_size=16), Ends()
    network = trained(tmp_path, MemtrackCallback(recorder), ends)
    for name, value in trained(tmp_path).state_dict().items():
        assert torch.equal(network.state_dict()[name], value)

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: torch.Tensor) -> Any:
            return self.network(inputs)["logits"]

    pairs = [(sample["pixel_values"], sample["labels"]) for sample in data()]
    plain = Recorder(pairs, tmp_path / "plain", batch_size=16)
    same_as_plainly_recorded(recorder, plain, network, ends.weights, Alone())
    assert recorder.scores()["suspicion"].between(0, 1).all()


def test_an_epoch_that_ends_early_is_not_recorded(tmp_path: Path) -> None:
    from memtrack.integrations.transformers import MemtrackCallback

    recorder = Recorder(data(), tmp_path / "recorded", batch_size=16)
    trained(tmp_path, MemtrackCallback(recorder), max_steps=5)  # 3 steps an epoch
    assert recorder.recorded.trajectory.epochs == (1,)


def test_a_forward_of_its_own(tmp_path: Path) -> None:
    from memtrack.integrations.transformers import MemtrackCallback

    recorder = Recorder(data(), tmp_path / "recorded", batch_size=16)
    used: list[int] = []

    def forward(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        used.append(len(inputs))
        return network(inputs)[0]

    trained(tmp_path, MemtrackCallback(recorder, forward), max_steps=3)
    assert recorder.recorded.trajectory.epochs == (1,)
    assert used


def test_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = example("hugging_face_loop", tmp_path, monkeypatch, capsys, epochs=3, samples=300)
    assert found["suspicion"] > 0.6
