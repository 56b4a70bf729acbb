"""LeNet-5 (LeCun et al. 1998), with batch normalisation and ReLU."""

from __future__ import annotations

from torch import nn


def build_lenet(channels: int = 3, outputs: int = 1) -> nn.Sequential:
    """Map float images [B, channels, H, W], at least 16 px wide and high, to logits [B, outputs]."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 16, 84),
        nn.ReLU(),
        nn.Linear(84, outputs),
    )
