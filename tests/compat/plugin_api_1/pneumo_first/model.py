"""A model with stages and weights, and a family of models."""

import fnmatch

import torch
from torch import nn

from pneumo_cli.api import ModelSpec


def build(channels=3, outputs=1, width=8, name="first-net"):
    """Float images [B, channels, H, W] to logits [B, outputs]."""
    width = 2 * width if name.endswith("wide") else width
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, width, 5, stride=2), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten()),
        nn.Linear(4 * width, outputs),
    )


def stages(model):
    """All modules in order."""
    return list(model)


def weights(name, progress):
    """Pretrained weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(name=name).state_dict()


def members(pattern):
    """The models of the family."""
    for name in ("first-zoo/narrow", "first-zoo/wide"):
        if fnmatch.fnmatchcase(name, pattern):
            yield ModelSpec(
                name=name, kind="classifier", summary="One of two", factory="pneumo_first.model:build"
            )
