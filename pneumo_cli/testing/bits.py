"""Exact equality of tensors."""

from __future__ import annotations

import torch


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same dtype and the same values."""
    return one.dtype == other.dtype and torch.equal(one, other)
