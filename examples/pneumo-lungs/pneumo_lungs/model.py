"""The network ``small-unet`` (U-Net: Ronneberger et al. 2015, MICCAI)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTHS = (16, 32, 64, 128)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images [B, 1, S, S] of any size to one logit per pixel, [B, 1, S, S]."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise(_WIDTHS))
        self.down = nn.ModuleList([_block(1, _WIDTHS[0]), *(_block(*pair) for pair in pairs)])
        self.up = nn.ModuleList([_block(low + high, high) for high, low in reversed(pairs)])
        self.head = nn.Conv2d(_WIDTHS[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        levels = [self.down[0](images)]
        for block in self.down[1:]:
            levels.append(block(F.max_pool2d(levels[-1], 2)))
        values = levels.pop()
        for block in self.up:
            level = levels.pop()
            wider = F.interpolate(values, size=level.shape[-2:], mode="nearest")
            values = block(torch.cat((wider, level), dim=1))
        logits: Tensor = self.head(values)
        return logits


def build_unet() -> UNet:
    """The registered factory."""
    return UNet()
