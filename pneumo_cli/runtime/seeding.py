"""Seeds derived from the position in a run, so that no generator state has to be saved.

Each step seeds all generators from (seed, epoch, step, rank): dropout and noise of a resumed run are the same.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache

import numpy as np
import torch


def derive(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for one purpose, independent of the seeds for other purposes.

    >>> derive(42, "model") != derive(42, "order", 1)
    True
    """
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def seed_all(seed: int, *parts: int | str) -> None:
    """Seed Python, NumPy and torch (all devices) for one purpose."""
    value = derive(seed, *parts)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    if _has_accelerator():
        torch.manual_seed(value)
    else:
        # For each kind of device that is not there, manual_seed formats a stack trace: many times the work of all
        # the rest.
        torch.default_generator.manual_seed(value)


@cache
def _has_accelerator() -> bool:
    """Whether torch was built for an accelerator that this machine has; does not initialise it."""
    return torch.accelerator.is_available()
