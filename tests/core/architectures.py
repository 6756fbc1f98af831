"""Tiny networks of the kinds that people use: torchvision's building blocks, for images of 16x16."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from cases import CLASSES
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.swin_transformer import SwinTransformer

SHAPE = (3, 16, 16)


class Patches(nn.Module):
    """Patches as tokens, mixed by attention, and their mean."""

    def __init__(self, attention: nn.Module, *, weights: bool | None = None) -> None:
        super().__init__()
        self.cut, self.attention, self.head = nn.Conv2d(3, 16, 4, 4), attention, nn.Linear(16, CLASSES)
        self.weights = weights

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.cut(inputs).flatten(2).transpose(1, 2)
        if self.weights is None:
            mixed = self.attention(tokens)
        else:
            mixed = self.attention(tokens, tokens, tokens, need_weights=self.weights)[0]
        logits: Tensor = self.head(mixed.mean(1))
        return logits


def attention() -> nn.Module:
    return nn.MultiheadAttention(16, 2, dropout=0.1, batch_first=True)


def encoder() -> nn.Module:
    """torch's transformer, which has a path of its own in eval mode."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2)


def norms_and_dropouts() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Dropout2d(0.2)]
    layers += [
        nn.Conv2d(8, 8, 3, 2),
        nn.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        nn.FeatureAlphaDropout(0.3),
    ]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.AlphaDropout(), nn.Linear(8, CLASSES)
    )


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "ViT": lambda: VisionTransformer(
        image_size=16, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16, dropout=0.1,
        num_classes=CLASSES,
    ),
    "Swin": lambda: SwinTransformer(
        patch_size=[2, 2], embed_dim=8, depths=[2, 1], num_heads=[1, 2], window_size=[2, 2],
        num_classes=CLASSES,
    ),
    "ConvNeXt": lambda: ConvNeXt(
        [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], layer_scale=0.5, num_classes=CLASSES
    ),
    "EfficientNet": lambda: EfficientNet(
        [MBConvConfig(1, 3, 1, 16, 8, 1, 0.25, 1), MBConvConfig(4, 3, 2, 8, 16, 1, 0.25, 1)], dropout=0.2,
        last_channel=16, num_classes=CLASSES,
    ),
    "RegNet": lambda: RegNet(
        BlockParams.from_init_params(depth=3, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25),
        stem_width=8, num_classes=CLASSES,
    ),
    "attention": lambda: Patches(attention(), weights=False),
    "attention with weights": lambda: Patches(attention(), weights=True),
    "transformer": lambda: Patches(encoder()),
    "norms and dropouts": norms_and_dropouts,
}  # fmt: skip


@cache
def _made(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(len(name))
        network = ARCHITECTURES[name]()
        with torch.no_grad():
            for parameter in network.parameters():  # among them a last layer of zeros
                parameter += 0.2 * torch.randn_like(parameter)
        for _ in range(2):  # the batch norms get statistics
            network(2 * torch.randn(8, *SHAPE) + 1)
        return network.double()


def made(name: str) -> nn.Module:
    """A network in float64 and training mode."""
    return copy.deepcopy(_made(name))
