"""What timm lists, as models of pneumo: architectures, and architectures with one of their sets of weights."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg

from pneumo_cli.api import ModelSpec

PREFIX = "timm/"


def members(pattern: str) -> Iterator[ModelSpec]:
    """The models whose names match a pattern, such as ``timm/convnext*``.

    ``timm/NAME`` is an architecture with its default weights, ``timm/NAME.TAG`` with those that timm calls TAG.
    """
    for name in (*timm.list_models(), *timm.list_pretrained()):
        if fnmatchcase(f"{PREFIX}{name}", pattern):
            yield _spec(name)


def pretrained_cfg(name: str) -> PretrainedCfg:
    """timm's data on a model: input size, normalisation, and where its weights are.

    Args:
        name: in pneumo, such as ``timm/resnet18``.
    """
    return get_pretrained_cfg(name.removeprefix(PREFIX)) or PretrainedCfg()


def _spec(name: str) -> ModelSpec:
    cfg = pretrained_cfg(name)
    weights = "no pretrained weights"
    if cfg.has_weights:
        weights = " ".join(filter(None, ("weights", cfg.tag, cfg.license and f"({cfg.license})")))
    return ModelSpec(
        name=f"{PREFIX}{name}",
        kind="classifier",
        summary=f"{cfg.input_size[-1]} px, {weights}",
        factory="pneumo_timm.models:build",
        weights="pneumo_timm.models:weights" if cfg.has_weights else "",
        trained_on=cfg.tag or "pretrained",
        stages="pneumo_timm.stages:stages",
        size=cfg.input_size[-1],
        mean=_of_channels(cfg.mean),
        std=_of_channels(cfg.std),
    )


def _of_channels(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
