"""The callback in a training by Lightning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from looped import example, same_as_plainly_recorded
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from memtrack.integrations.recorder import Recorder

lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

COUNT, EPOCHS = 48, 2


def data() -> TensorDataset:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % 3
    return TensorDataset(torch.randn(COUNT, 1, 6, 6, generator=draw) + labels[:, None, None, None], labels)


class Module(lightning.LightningModule):  # type: ignore[name-defined]
    """A network with dropout and batch norm; keeps its weights at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3)]
        self.network = nn.Sequential(*layers, nn.Linear(64, 3))
        self.ends: list[dict[str, Tensor]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)

    def training_step(self, batch: Any, _: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    def on_train_epoch_end(self) -> None:
        self.ends.append({name: value.clone() for name, value in self.network.state_dict().items()})


def fitted(folder: Path, *callbacks: Any, **options: Any) -> Module:
    lightning.seed_everything(3, verbose=False)
    module = Module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            callbacks=list(callbacks), **options,
        )  # fmt: skip
        loader = DataLoader(data(), batch_size=16, shuffle=True)
        trainer.fit(module, loader, DataLoader(data(), batch_size=16))
    return module


@pytest.mark.parametrize("part", [False, True], ids=["the module", "a part of it"])
def test_a_training(part: bool, tmp_path: Path) -> None:
    """It is the same as without the callback, and the numbers and scores are those of a plain recorder."""
    from memtrack.integrations.lightning import MemtrackCallback

    recorder = Recorder(data(), tmp_path / "recorded", batch_size=16)
    callback = MemtrackCallback(recorder, (lambda module: module.network) if part else None)
    module = fitted(tmp_path, callback)
    for name, value in fitted(tmp_path).network.state_dict().items():
        assert torch.equal(module.network.state_dict()[name], value)
    plain = Recorder(data(), tmp_path / "plain", batch_size=16)
    same_as_plainly_recorded(recorder, plain, module.network, module.ends, module.network)
    assert recorder.scores()["suspicion"].between(0, 1).all()


def test_a_trial_run_is_not_recorded(tmp_path: Path) -> None:
    from memtrack.integrations.lightning import MemtrackCallback

    recorder = Recorder(data(), tmp_path / "recorded", batch_size=16)
    fitted(tmp_path, MemtrackCallback(recorder), fast_dev_run=True)
    with pytest.raises(ValueError, match="no epoch was recorded"):
        recorder.scores()


def test_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = example("lightning_loop", tmp_path, monkeypatch, capsys)
    assert found["suspicion"] > 0.9
