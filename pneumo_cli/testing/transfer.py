"""For tests of trainers that start from pre-trained weights: a small network, and weights for it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pneumo_cli.specs import ModelSpec, Preset, TrainerSpec
from pneumo_cli.testing.datasets import TINY

if TYPE_CHECKING:
    from torch import nn

NETWORK = ModelSpec(
    name="conformance-network",
    summary="Eight convolutions with BatchNorm and two linear layers, in stages",
    kind="classifier",
    factory="pneumo_cli.testing.transfer:build_network",
    stages="pneumo_cli.testing.transfer:stages_of_network",
)
"""A network that trains in seconds; :func:`pneumo_cli.testing.installed_plugins` registers it."""

PROBE = TrainerSpec(
    name="conformance-probe",
    summary="The shared classification trainer, with the network of the suite",
    trainer="pneumo_cli.trainers.classification:ClassificationTrainer",
    settings="pneumo_cli.settings.schema:ClassificationSettings",
    kind="classifier",
    model=NETWORK.name,
    presets=(Preset(name="source", summary="As it is"),),
)
"""What extensions, observers and datasets are tried with; ``installed_plugins`` registers it."""

SMALL_NETWORK = MappingProxyType(
    {
        "model": NETWORK.name,
        "weights": "none",
        "image_size": 32,
        "batch_size": 16,
        "precision": "fp32",
        "device": "cpu",
        "dataset": TINY.name,
    }
)
"""Settings of a run of this network, in fp32 on the CPU."""

_WIDTHS = (16, 16, 24, 24, 32, 32, 48, 48)


def build_network(channels: int = 3, outputs: int = 1) -> nn.Sequential:
    """The factory of :data:`NETWORK`: images [B, channels, 32 or more, 32 or more] to logits [B, outputs]."""
    from torch import nn

    from pneumo_cli.trainers.backbone import replace_head

    blocks = []
    for inputs, width in zip((channels, *_WIDTHS), _WIDTHS, strict=False):
        stride = 1 if inputs == width else 2
        convolution = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
    classifier = nn.Sequential(nn.Linear(_WIDTHS[-1], 64), nn.Hardswish(), nn.Linear(64, 1))
    network = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*blocks),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )
    replace_head(network, "classifier.2", outputs)
    return network


def stages_of_network(network: nn.Sequential) -> list[nn.Module]:
    """The stages of :data:`NETWORK`, the head last."""
    features, pool, flatten, classifier = network.children()
    return [*features.children(), pool, flatten, *classifier.children()]


def write_weights(path: Path) -> Path:
    """Write a state dict of :data:`NETWORK` with 1000 outputs; return its path. Features differ between images.

    In a new network they do not: its BatchNorm statistics are not fitted, so all images give the same output.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_network(outputs=1000)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the mean over all batches
        with torch.no_grad():
            for _ in range(4):
                model(torch.randn(32, 3, 32, 32))
    torch.save(model.state_dict(), path)
    return path
