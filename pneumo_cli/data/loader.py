"""Batches of one split for one rank, in an order that can be resumed at any step.

The data are in memory (memory-mapped, or already on the accelerator), so there are no worker processes, no
prefetching, and no state but (seed, epoch, step): a run that was killed continues with exactly the same batches.

This module defines the order; :mod:`pneumo_cli.data.batch_inputs` provides the content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.batch_inputs import Inputs, images_at_once
from pneumo_cli.data.batch_targets import BatchTargets
from pneumo_cli.data.sample_rng import shuffled
from pneumo_cli.errors import UsageError

_NO_TARGETS: Mapping[str, Tensor] = MappingProxyType({})


class _Batch(NamedTuple):
    images: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # a tuple has a method of this name
    stage: int = 0


class Batch(_Batch):
    """A batch on the device of the run.

    A tuple of ``images``, ``labels``, ``index`` and ``stage``, with ``targets`` besides: plugins that unpack four
    values go on to work. ``_replace`` takes all five.

    Attributes:
        images: float32 [B, C, S, S]; from stage 1 on, features [B, ...]; with V views of each image, [V * B, ...],
            the first views of all images first.
        labels: int64 [B]; of a multilabel dataset [B, K]: 1 present, 0 absent, -1 unknown.
        index: int64 [B], positions in the dataset's records.
        stage: number of stages of the network already applied to ``images``.
        targets: what the dataset gives beside the labels (``Dataset.targets``), by name: numbers float32 [B], NaN
            where one is unknown; masks uint8 [B, S, S]; boxes float32 [B, M, 4] (left, top, right, bottom, as
            shares), filled up with NaN. Masks and boxes are in the geometry of ``images``, of several views of the
            first.
    """

    targets: Mapping[str, Tensor]

    def __new__(
        cls,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        stage: int = 0,
        targets: Mapping[str, Tensor] = _NO_TARGETS,
    ) -> Self:
        """Take the five values."""
        batch = super().__new__(cls, images, labels, index, stage)
        batch.targets = targets
        return batch

    def _replace(self, **values: Any) -> Self:
        """The same batch with other values."""
        return type(self)(**{**self._asdict(), "targets": self.targets, **values})


class Loader:
    """The batches of one split.

    With a ``shuffle_seed`` (training), each epoch is one permutation of all positions, divided into *global*
    batches of ``batch_size``, of which rank r takes the samples r, r + world, and so on. All ranks have the same
    number of batches, none is empty, and the samples of a step do not depend on the number of ranks. The last batch
    may be smaller; it is dropped if it has fewer than ``smallest`` samples for any rank.

    Without one (evaluation), rank r takes ``positions[r::world]`` in order: every sample exactly once, no padding.
    The number of batches may then differ by one between ranks.

    Args:
        inputs: source of the batches' content.
        labels: int64 [N], or [N, K].
        positions: int64 [n], the records of this split; position + r * N is repetition r of an image that occurs
            several times (:mod:`pneumo_cli.data.class_sampling`).
        batch_size: samples of a step over all ranks.
        device: device of the batches.
        shuffle_seed: of the run, or None for the order of ``positions``.
        epoch: the epoch that ``iterate`` yields; may be set between epochs.
        rank, world: rank of this process, and number of processes.
        smallest: samples of a training batch that each rank needs.
        targets: of the dataset, beside the labels; None: it has none.

    Attributes:
        advance: called with the size of each batch when the next one is requested; for a progress bar.

    Raises:
        UsageError: the batch size is below 1, or, in training, below the number of ranks.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: Tensor,
        positions: NDArray[np.int64],
        batch_size: int,
        device: torch.device,
        *,
        shuffle_seed: int | None,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        smallest: int = 1,
        targets: BatchTargets | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"the batch size has to be at least 1, not {batch_size}")
        if shuffle_seed is not None:
            check_batch(batch_size, world)
        self.batch_size = batch_size
        self.device = device
        self.epoch = epoch
        self.rank = rank
        self.world = world
        self.smallest = smallest
        self.advance: Callable[[int], None] = lambda count: None
        self._inputs = inputs
        self._labels = labels.to(device)
        self._positions = np.asarray(positions, np.int64)
        self._shuffle_seed = shuffle_seed
        self._targets = targets

    def __len__(self) -> int:
        """Number of batches that this rank yields in an epoch."""
        if self._shuffle_seed is None:
            return -(-_share(len(self._positions), self.rank, self.world) // self._local_size)
        return count_batches(len(self._positions), self.batch_size, self.world, self.smallest)

    @property
    def samples(self) -> int:
        """Number of samples that this rank yields in an epoch."""
        return sum(self.batch_sizes(step)[0] for step in range(len(self)))

    def batch_sizes(self, step: int) -> tuple[int, int]:
        """Return the number of samples of a step on this rank and over all ranks."""
        if self._shuffle_seed is None:
            shares = [_share(len(self._positions), rank, self.world) for rank in range(self.world)]
            sizes = [min(max(share - step * self._local_size, 0), self._local_size) for share in shares]
            return sizes[self.rank], sum(sizes)
        total = min(max(len(self._positions) - step * self.batch_size, 0), self.batch_size)
        return _share(total, self.rank, self.world), total

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def iterate(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from step ``start`` on, exactly those of an uninterrupted pass."""
        epoch, steps = self.epoch, len(self)
        positions, size, rank, world = self._positions, self.batch_size, self.rank, self.world
        if self._shuffle_seed is None:
            # Each rank has batches of its own share.
            positions, size, rank, world = positions[rank::world], self._local_size, 0, 1
        else:
            positions = shuffled(self._shuffle_seed, epoch, positions)
        at_once = max(1, images_at_once(self._inputs) // self._local_size)
        # Passes begin at multiples of their number of batches, so that they are the same after a resumption.
        for first in range(start - start % at_once, steps, at_once):
            batches = [
                positions[step * size : (step + 1) * size][rank::world]
                for step in range(first, min(first + at_once, steps))
            ]
            for batch in self._batches(batches, max(0, start - first), epoch):
                yield batch
                self.advance(len(batch.index))

    @property
    def _local_size(self) -> int:
        return -(-self.batch_size // self.world)

    def _batches(self, batches: Sequence[NDArray[np.int64]], start: int, epoch: int) -> Iterator[Batch]:
        """The batches of these positions, made in one pass, from number ``start`` on."""
        positions = np.concatenate(batches) if len(batches) > 1 else batches[0]
        records = torch.from_numpy(positions % len(self._labels))
        index = records.to(self.device, non_blocking=True)
        images, labels = self._inputs(positions, epoch), self._labels[index]
        if len(batches) == 1:
            columns = [(images, labels, index)]
        else:
            # No views: what changes a batch in place changes no other one, and autograd knows that. All batches but
            # the last of an epoch are of one size.
            size = len(batches[0])
            columns = list(
                zip(*(torch.unsafe_split(all_, size) for all_ in (images, labels, index)), strict=True)
            )
        for number in range(start, len(batches)):
            images, labels, index = columns[number]
            if self._targets is None:
                yield Batch(images, labels, index, self._inputs.stage)
            else:
                targets = self._targets.of(self._inputs, batches[number], index, epoch)
                yield Batch(images, labels, index, self._inputs.stage, targets)


def check_batch(batch_size: int, world: int) -> None:
    """Raise UsageError if a batch has no image for some of ``world`` processes."""
    if batch_size < world:
        raise UsageError(
            f"batch size {batch_size} is below the number of devices, {world}: increase it, or use fewer devices"
        )


def count_batches(count: int, batch_size: int, world: int, smallest: int) -> int:
    """Number of training batches of ``count`` samples; the last one, if smaller, has to be large enough for all."""
    whole, rest = divmod(count, batch_size)
    return whole + (rest >= smallest * world)


def _share(count: int, rank: int, world: int) -> int:
    """Number of samples for rank ``rank`` when ``count`` samples are distributed one by one."""
    return len(range(rank, count, world))
