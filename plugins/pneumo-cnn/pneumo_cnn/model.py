"""The report's network (SOURCE 3)."""

from __future__ import annotations

from torch import nn

_STAGES = (64, 128, 256, 512)


def build_cnn(channels: int = 3, outputs: int = 1) -> nn.Sequential:
    """Four stages of (3x3 convolution, BatchNorm, ReLU) x 2, pooling, one linear layer; no sigmoid.

    Maps float images [B, channels, H, W], at least 8 px wide and high, to logits [B, outputs]. With 3 channels and
    1 output it has 4,689,729 parameters in 30 layers (the report's figure 11).
    """
    layers: list[nn.Module] = []
    for stage, width in enumerate(_STAGES):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, 2) if stage < len(_STAGES) - 1 else nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, outputs))
