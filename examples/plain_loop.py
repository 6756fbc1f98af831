"""A loop of plain PyTorch that finds wrong labels: python examples/plain_loop.py"""

from __future__ import annotations

import torch
from noisy_digits import noisy_digits, options, show
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memtrack import Recorder

chosen = options("plain_loop", epochs=10)
images, labels, wrong = noisy_digits(chosen.samples)

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)

recorder = Recorder((images, labels), chosen.folder, batch_size=64)  # the plain samples
for epoch in range(1, chosen.epochs + 1):
    for inputs, given in loader:
        shift = torch.randint(-1, 2, (2,)).tolist()
        augmented = torch.roll(inputs, shift, dims=(2, 3))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(augmented), given).backward()
        optimizer.step()
    recorder.after_epoch(model, epoch)

show(recorder.scores(), wrong, chosen.folder)
