"""Counter-based random numbers that depend only on (seed, epoch, sample).

With a sequential generator each draw depends on all draws before it: skipping a batch, resuming, or splitting the
work over two devices changes all later samples. Here a draw is a hash of its key, so that it is the same in any
order and on any machine (64-bit integer arithmetic).

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), chained over the parts of the key. Not
for cryptography.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 0xFFFFFFFFFFFFFFFF


class Stream(IntEnum):
    """The purpose of the numbers; streams of one seed are independent of each other."""

    ORDER = 1
    AUGMENTATION = 2


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _absorb(state: NDArray[np.uint64], part: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # Without "+ 1" a part of zero would not change the state.
    return _mix(state + (part + np.uint64(1)) * np.uint64(_GOLDEN))


def bits(stream: Stream, seed: int, epoch: int, index: ArrayLike, count: int) -> NDArray[np.uint64]:
    """Return uniform 64-bit numbers [B, count] for the samples ``index`` (integers [B])."""
    # Arrays, not scalars: NumPy warns if scalar arithmetic wraps around, as is intended here.
    state = np.zeros(1, np.uint64)
    for part in (int(stream), seed, epoch):
        state = _absorb(state, np.array([part & _WORD], np.uint64))
    rows = _absorb(state, np.asarray(index, np.int64).astype(np.uint64))
    return _absorb(rows[:, None], np.arange(count, dtype=np.uint64)[None, :])


def uniforms(seed: int, epoch: int, index: ArrayLike, count: int) -> NDArray[np.float32]:
    """Return ``count`` numbers in [0, 1) per sample, float32 [B, count], for augmentation.

    Row i depends only on (seed, epoch, index[i]), and column j does not depend on ``count``.
    """
    # float32 holds 24 bits exactly.
    top = bits(Stream.AUGMENTATION, seed, epoch, index, count) >> np.uint64(40)
    return (top.astype(np.float32) * np.float32(2**-24)).astype(np.float32)


def shuffled(seed: int, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of ``positions`` in an epoch, which does not depend on the order they are given in."""
    ordered = np.sort(positions)
    keys = bits(Stream.ORDER, seed, epoch, ordered, 1)[:, 0]
    return ordered[np.argsort(keys, kind="stable")]
