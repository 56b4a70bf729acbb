"""Exact equality of tensors and models."""

from __future__ import annotations

import torch
from torch import nn

Values = dict[str, torch.Tensor]


def values_of(model: nn.Module) -> Values:
    """Copies of all parameters and buffers by name, those that checkpoints leave out too."""
    return {
        name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())
    }


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and values, NaN where the other has NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def different(one: Values, other: Values) -> list[str]:
    """The names whose values differ, or that only one of the two has."""
    return [
        name
        for name in sorted(one.keys() | other.keys())
        if name not in one or name not in other or not same_bits(one[name], other[name])
    ]
