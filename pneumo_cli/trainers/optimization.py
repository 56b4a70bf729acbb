"""Parameter groups with their learning rates and weight decays, and the warm-up and cosine schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module,
    stages: Sequence[nn.Module],
    *,
    lr: float,
    weight_decay: float,
    decay_norms: bool = True,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Sort a model's trainable parameters into groups for an optimizer.

    Args:
        stages: of the model, the head last (:func:`pneumo_cli.trainers.backbone.stages_of`); may be empty.
        lr: learning rate of the head, and of parameters outside the stages.
        weight_decay: of weights.
        decay_norms: whether biases and normalisation parameters (those with fewer than two dimensions) decay too.
        layer_decay: factor of the learning rate per stage away from the head, counting only stages with trainable
            parameters (discriminative rates: Howard and Ruder 2018, arXiv 1801.06146).

    Returns:
        groups with ``params``, ``lr`` and ``weight_decay``, the head's first; none is empty.
    """
    depth: dict[int, int] = {}
    trained = [stage for stage in stages if any(p.requires_grad for p in stage.parameters())]
    for distance, stage in enumerate(reversed(trained) if layer_decay < 1 else ()):
        for parameter in stage.parameters():
            depth.setdefault(id(parameter), distance)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in sorted(parameters, key=lambda p: depth.get(id(p), 0)):
        rate = lr * layer_decay ** depth.get(id(parameter), 0)
        decay = weight_decay if decay_norms or parameter.ndim > 1 else 0.0
        group = groups.setdefault((rate, decay), {"params": [], "lr": rate, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def warm_cosine(updates: int, warmup: int) -> Callable[[int], float]:
    """The factor of the learning rate for each update: a linear warm-up (Goyal et al. 2017, arXiv 1706.02677), then
    half a cosine down to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983).

    Args:
        updates: of the whole run.
        warmup: updates of the warm-up.
    """

    def factor(update: int) -> float:
        if update < warmup:
            return (update + 1) / (warmup + 1)
        progress = (update - warmup) / max(updates - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return factor
