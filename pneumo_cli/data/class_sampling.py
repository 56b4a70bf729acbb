"""Over- and under-sampling of classes: which training images an epoch has.

The report names both as alternatives to a weighted loss and uses neither (SOURCE 4).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.sample_rng import shuffled

Sampling = Literal["none", "over", "under"]
Positions = NDArray[np.int64]


def sampled(
    positions: Positions, labels: NDArray[np.int64], sampling: Sampling, seed: int, epoch: int
) -> Positions:
    """The training images of an epoch; every class has the same number of them if they are sampled.

    Args:
        positions: of the training images in the records, int64 [n].
        labels: class index of every record, int64 [N].
        sampling: ``none``: all, once. ``over``: as many of each class as of the largest one; each image of a class
            occurs as often as any other of it, or once more. ``under``: as many of each class as of the smallest
            one, others in each epoch.
        seed: of the run; the choice depends on it and on the epoch alone.
        epoch: from 1.

    Returns:
        int64 [m]. Repetition r of the image at a position is the position + r * N, so that repetitions are shuffled
        and augmented independently (:class:`pneumo_cli.data.loader.Loader`).
    """
    if sampling == "none":
        return positions
    own = labels[positions]
    members = [positions[own == label] for label in np.unique(own)]
    sizes = [len(each) for each in members]
    orders = [shuffled(seed, epoch, each) for each in members]
    if sampling == "over":
        chosen = [_repeated(order, max(sizes), len(labels)) for order in orders]
    else:
        chosen = [order[: min(sizes)] for order in orders]
    return np.sort(np.concatenate(chosen))


def _repeated(members: Positions, wanted: int, records: int) -> Positions:
    """``wanted`` images, those at the start of ``members`` once more often than the others."""
    slots = np.arange(wanted)
    return members[slots % len(members)] + slots // len(members) * records


def sampled_size(positions: Positions, labels: NDArray[np.int64], sampling: Sampling) -> int:
    """How many images :func:`sampled` returns."""
    if sampling == "none":
        return len(positions)
    counts = np.unique(labels[positions], return_counts=True)[1]
    return int(len(counts) * (counts.max() if sampling == "over" else counts.min()))
