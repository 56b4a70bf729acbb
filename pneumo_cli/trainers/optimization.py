"""Which learning rate and weight decay each weight gets, and how rates change over a run."""

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
        stages: the model in pieces, the head last (:func:`pneumo_cli.trainers.backbone.stages_of`); may be empty.
        lr: learning rate of the head, and of parameters that belong to no stage.
        weight_decay: of weights.
        decay_norms: whether biases and the parameters of normalisation decay as well: those of less than two
            dimensions.
        layer_decay: factor of the learning rate per stage away from the head, counting only stages that have
            trainable parameters (discriminative rates: Howard and Ruder 2018, arXiv 1801.06146).

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
    """The factor of the learning rate for each update: a linear rise, then half a cosine down to 0.

    Args:
        updates: of the whole run.
        warmup: of the rise (Goyal et al. 2017, arXiv 1706.02677); the cosine: Loshchilov and Hutter 2017,
            arXiv 1608.03983.
    """

    def factor(update: int) -> float:
        if update < warmup:
            return (update + 1) / (warmup + 1)
        done = (update - warmup) / max(updates - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    return factor
