"""Feature cache: the output of a network's frozen first stages, computed once per image, in a memory-mapped file.

A strictly frozen prefix has the same output for an image in every epoch and run, so it is computed once per image
and view. The file is keyed by everything the output depends on: weights and structure of the prefix, transform,
image size, precision, dataset fingerprint, pixels. Which stages are frozen: :mod:`pneumo_cli.trainers.transfer`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumo_cli.data.array_file import (
    Array,
    damage_is_warned_of,
    disk_errors,
    open_array,
    prepare_folder,
    write_array,
)
from pneumo_cli.data.batch_inputs import Inputs
from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.progress import NOTICE, Progress

_FORMAT = 1
_BATCH = 32
_PROBE = 4  # images from which size and time are estimated
_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class Frozen:
    """The frozen stages of a network and their input.

    Attributes:
        prefix: maps inputs [B, C, S, S] to features [B, ...]; called in eval mode, without gradients.
        stages: number of stages in the prefix.
        inputs: source of its input; with V views per image it returns [V * B, C, S, S].
        epochs: the epochs passed to ``inputs``, each of which is a set of views.
        positions: int64 [n], the records to compute features for.
        identity: plain values of everything else that the features depend on.
    """

    prefix: Callable[[Tensor], Tensor]
    stages: int
    inputs: Inputs
    epochs: Sequence[int]
    positions: NDArray[np.int64]
    identity: Mapping[str, Any]


class Features:
    """Cached features. An :class:`~pneumo_cli.data.batch_inputs.Inputs` for the stages after the prefix.

    Epoch e uses all views of the e-th cached epoch, starting over after the last.

    Args:
        array: [epochs, n, V, ...], memory-mapped.
        dtype: of the features.
        rows: int64 [N], the row of each record; -1: none.
        stage: number of stages already applied.
        device: device of the batches.
    """

    def __init__(
        self, array: Array, dtype: torch.dtype, rows: NDArray[np.int64], stage: int, device: torch.device
    ) -> None:
        self.stage = stage
        self.array = array
        self._dtype = dtype
        self._rows = rows
        self._device = device

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> Tensor:
        records = len(self._rows)
        views = (epoch - 1 + positions // records) % len(self.array)  # a repetition has another view
        chosen = self.array[views, self._rows[positions % records]]
        features = torch.from_numpy(chosen).view(self._dtype).to(self._device, non_blocking=True)
        return features.transpose(0, 1).flatten(0, 1)


def cached_features(
    frozen: Frozen,
    *,
    records: int,
    device: torch.device,
    cache: Path,
    progress: Progress,
    writes: bool = True,
) -> Features | None:
    """Return the features of the frozen stages, from the cache or computed now.

    The estimated size and time are logged first. Several processes may compute the same features at once: each
    writes its own temporary file, and the last one to finish replaces the others' equal result.

    Args:
        records: number of records of the dataset.
        cache: folder of all caches.
        writes: False in processes that only read what another one has computed.

    Returns:
        None, with a warning, where they do not fit on disk or in memory.

    Raises:
        UsageError: the cache folder cannot be written to.
        PneumoError: writing failed, a full disk for example.
    """
    batch, seconds = _probe(frozen)
    views = len(batch) // min(_PROBE, len(frozen.positions))
    shape = [len(frozen.epochs), len(frozen.positions), views, *batch.shape[1:]]
    identity = {
        "format": _FORMAT,
        **frozen.identity,
        "epochs": list(frozen.epochs),
        "positions": hashlib.sha256(frozen.positions.tobytes()).hexdigest(),
        "features": str(batch.dtype),
        "shape": shape,
        "dtype": str(_stored(batch).dtype),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = cache / "features" / f"{key[:32]}.bin"
    prepare_folder(path.parent)
    cached = None
    with damage_is_warned_of(path, "features", "computing them again"):
        cached = open_array(path, identity)
    if cached is not None:
        array = cached[0]
    else:
        size = int(np.prod(shape, dtype=np.int64)) * batch.element_size()
        images = len(frozen.epochs) * len(frozen.positions) * views
        what = f"output of the {frozen.stages} frozen stages for {images:,} images, {size / 2**20:,.0f} MiB"
        reason = _does_not_fit(size, path.parent)
        if reason:
            _log.warning("%s, is not cached: %s; it is recomputed in every epoch", what, reason)
            return None
        if not writes:
            raise PneumoError(f"{path}, which the first rank has computed, is missing")
        _log.log(NOTICE, "computing %s, about %s, into %s", what, _duration(seconds * images), path.parent)
        array = _compute(frozen, path, identity, progress, size)
    rows = np.full(records, -1, np.int64)
    rows[frozen.positions] = np.arange(len(frozen.positions))
    return Features(array, batch.dtype, rows, frozen.stages, device)


def prefix_digest(stages: Sequence[nn.Module]) -> str:
    """SHA-256 over the structure of some stages and name, shape and value of all their parameters and buffers."""
    digest = hashlib.sha256()
    for stage in stages:
        digest.update(str(stage).encode())
        for name, value in stage.state_dict().items():
            digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _probe(frozen: Frozen) -> tuple[Tensor, float]:
    """Features of a few images, on the CPU, and seconds per image after a warm-up."""
    inputs = frozen.inputs(frozen.positions[:_PROBE], frozen.epochs[0])
    frozen.prefix(inputs)
    start = time.perf_counter()
    batch = frozen.prefix(inputs).cpu()
    return batch, (time.perf_counter() - start) / len(inputs)


def _compute(frozen: Frozen, path: Path, identity: Mapping[str, Any], progress: Progress, size: int) -> Array:
    def batches() -> Iterator[tuple[int, NDArray[np.int64]]]:
        for epoch in frozen.epochs:
            for first in range(0, len(frozen.positions), _BATCH):
                yield epoch, frozen.positions[first : first + _BATCH]

    def blocks(advance: Callable[[int], None]) -> Generator[bytes]:
        for epoch, positions in batches():
            output = frozen.prefix(frozen.inputs(positions, epoch)).cpu()
            views = output.unflatten(0, (-1, len(positions))).transpose(0, 1).contiguous()
            yield _stored(views).tobytes()
            advance(len(positions))

    advice = ", or compute them in every epoch with --no-feature-cache"
    with (
        disk_errors("features", size, path.parent, advice),
        progress.stage("frozen stages", len(frozen.epochs) * len(frozen.positions)) as advance,
        closing(blocks(advance)) as features,
    ):
        return write_array(path, identity, features)[0]


def _stored(values: Tensor) -> NDArray[Any]:
    """A tensor as a NumPy array: dtypes that NumPy lacks as integers of the same bits."""
    return (values.view(torch.uint16) if values.dtype == torch.bfloat16 else values).numpy()


def _does_not_fit(size: int, folder: Path) -> str:
    """Why so many bytes cannot be cached; empty where they can."""
    free = shutil.disk_usage(folder).free
    if size > 0.9 * free:
        return f"{folder} has {free / 2**20:,.0f} MiB free"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if memory and size > 0.75 * memory:
        return f"this machine has {memory / 2**20:,.0f} MiB of memory"
    return ""


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
