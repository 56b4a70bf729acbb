"""Which training images an epoch has: all, as many of each class, or those that a plugin chooses.

The report names over- and under-sampling of classes as alternatives to a weighted loss and uses neither (SOURCE 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.records import Record
from pneumo_cli.data.registered import RegisteredSampling, find_registered
from pneumo_cli.data.sample_rng import shuffled
from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Registry
from pneumo_cli.settings.schema import SAMPLINGS
from pneumo_cli.specs import SamplerSpec

Policy = Literal["none", "over", "under"]
Positions = NDArray[np.int64]


class Sampling(Protocol):
    """The training images of each epoch.

    Attributes:
        size: their number, the same in each epoch.
    """

    size: int

    def of(self, epoch: int) -> Positions:
        """The images of an epoch, from 1; see :func:`sampled`."""
        ...


class ClassSampling:
    """The training images of each epoch by :func:`sampled`. A :class:`Sampling`."""

    def __init__(self, positions: Positions, labels: NDArray[np.int64], policy: Policy, seed: int) -> None:
        self._positions, self._labels, self._policy, self._seed = positions, labels, policy, seed
        self.size = sampled_size(positions, labels, policy)

    def of(self, epoch: int) -> Positions:
        """The images of an epoch."""
        return sampled(self._positions, self._labels, self._policy, self._seed, epoch)


def find_sampling(
    name: str,
    registry: Registry[SamplerSpec],
    positions: Positions,
    labels: NDArray[np.int64],
    records: Sequence[Record],
    seed: int,
) -> Sampling:
    """The choice of training images of a name (``--sampling``), pneumo's own or a plugin's.

    Args:
        positions, labels, seed: as of :func:`sampled`.
        records: all records of the dataset.

    Raises:
        UsageError: the name is unknown or ambiguous, or the plugin cannot be imported; or classes are to be sampled
            and images have several labels.
        DataError: the plugin's choice breaks a rule.
    """
    entry = find_registered(registry, name, SAMPLINGS)
    if entry is not None:
        return RegisteredSampling(entry, positions, records, seed)
    if name != "none" and labels.ndim > 1:
        raise UsageError(
            f"sampling = {name!r} is for exclusive classes, and these images have several labels"
        )
    return ClassSampling(positions, labels, cast("Policy", name), seed)


def sampled(
    positions: Positions, labels: NDArray[np.int64], sampling: Policy, seed: int, epoch: int
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


def sampled_size(positions: Positions, labels: NDArray[np.int64], sampling: Policy) -> int:
    """How many images :func:`sampled` returns."""
    if sampling == "none":
        return len(positions)
    counts = np.unique(labels[positions], return_counts=True)[1]
    return int(len(counts) * (counts.max() if sampling == "over" else counts.min()))
