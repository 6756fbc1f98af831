"""A training by Lightning that finds wrong labels: python examples/lightning_loop.py

It needs `pip install 'memtrack[lightning]'`.
"""

from __future__ import annotations

import lightning
import torch
from noisy_digits import noisy_digits, options, show
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from memtrack import Recorder
from memtrack.integrations.lightning import MemtrackCallback


class Classifier(lightning.LightningModule):
    """A small network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """The logits: what the recorder needs."""
        return self.network(inputs)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        inputs, given = batch
        return nn.functional.cross_entropy(self(inputs), given)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


chosen = options("lightning_loop", epochs=10)
images, labels, wrong = noisy_digits(chosen.samples)
lightning.seed_everything(0)
loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)

recorder = Recorder((images, labels), chosen.folder, batch_size=64)
trainer = lightning.Trainer(
    max_epochs=chosen.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, callbacks=[MemtrackCallback(recorder)],
)  # fmt: skip
trainer.fit(Classifier(), loader)

show(recorder.scores(), wrong, chosen.folder)
