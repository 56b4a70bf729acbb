"""Optimizers, parameter groups with their learning rates and weight decays, the warm-up and cosine schedule.

torch's own optimizers import its compiler (``torch._dynamo``, with sympy and triton: over a second) when they are
made and at their first step, to tell it what it is not to compile. Those of this module do the same without it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn


class _Uncompiled(torch.optim.Optimizer):
    """The methods of an optimizer without the decorators that import the compiler.

    ``inspect.unwrap`` returns a method as it is where a version of torch has not decorated it.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = inspect.unwrap(torch.optim.Optimizer.state_dict)(self)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        inspect.unwrap(torch.optim.Optimizer.load_state_dict)(self, state_dict)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        step = inspect.unwrap(super(_Uncompiled, type(self)).step)
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            loss: float | None = step(self, closure)
        return loss


class SGD(_Uncompiled, torch.optim.SGD):
    """:class:`torch.optim.SGD`, which see."""


class Adam(_Uncompiled, torch.optim.Adam):
    """:class:`torch.optim.Adam`, which see."""


class AdamW(_Uncompiled, torch.optim.AdamW):
    """:class:`torch.optim.AdamW`, which see."""


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
