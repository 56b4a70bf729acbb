"""Equality of tensors to the last bit."""

from __future__ import annotations

import torch


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are of one type and equal in every value."""
    return one.dtype == other.dtype and torch.equal(one, other)
