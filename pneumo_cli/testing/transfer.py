"""For tests of trainers that start from pre-trained weights: a small network, and weights for it."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from pneumo_cli.testing.datasets import TINY

SMALL_NETWORK = MappingProxyType(
    {
        "model": "mobilenet-v3-small",
        "weights": "none",
        "image_size": 32,
        "batch_size": 16,
        "precision": "fp32",
        "device": "cpu",
        "dataset": TINY.name,
    }
)
"""Settings of a run that takes seconds, in fp32 on the CPU."""


def write_weights(path: Path) -> Path:
    """Write a state dict of the small network with 1000 outputs; return its path. Features differ between images.

    In a new network they do not: its BatchNorm statistics are not fitted, so all images give the same output.
    """
    import torch
    from torch import nn

    from pneumo_torchvision.models import build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(str(SMALL_NETWORK["model"]), outputs=1000)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean over all batches
        with torch.no_grad():
            for _ in range(4):
                model(torch.randn(32, 3, 32, 32))
    torch.save(model.state_dict(), path)
    return path
