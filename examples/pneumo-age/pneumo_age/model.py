"""The network ``age-net``."""

from __future__ import annotations

from torch import nn

_WIDTHS = (24, 48, 96, 128, 128)


def build_net(channels: int = 3, outputs: int = 1) -> nn.Sequential:
    """Float images [B, channels, H, W], at least 32 px wide and high, to [B, outputs]."""
    layers: list[nn.Module] = []
    for width in _WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))
