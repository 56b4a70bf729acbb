"""Random numbers that depend on where a run is and not on how it got there.

Every step seeds all generators from (seed, epoch, step, rank), so dropout and noise of a resumed run need no
saved generator state.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for one purpose, independent of the seeds for others.

    >>> derive(42, "model") != derive(42, "order", 1)
    True
    """
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def seed_all(seed: int, *parts: int | str) -> None:
    """Seed Python, numpy and torch (all its devices) for one purpose."""
    value = derive(seed, *parts)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    torch.manual_seed(value)
