"""For tests of trainers that begin with pre-trained weights: a small network, weights that tell images apart."""

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
"""Settings of a run of seconds, alike on every processor."""


def write_weights(path: Path) -> Path:
    """Write a state dict of the small network with 1000 outputs, whose features tell images apart; return its path.

    Those of a network as it is made do not: before its BatchNorm statistics fit, it gives the same for all.
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
