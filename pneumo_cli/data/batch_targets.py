"""The targets of a loader's batches beside its labels: numbers, masks and boxes.

Masks and boxes have a place in the image, so they move with it: the source of a batch's images
(:mod:`pneumo_cli.data.batch_inputs`) moves them too, through its transform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.augmentation import Transform
from pneumo_cli.data.batch_inputs import Inputs
from pneumo_cli.data.records import Target
from pneumo_cli.errors import UsageError


class BatchTargets:
    """The targets of a dataset's records.

    Args:
        values: by name: numbers float32 [N], masks uint8 [N, S, S], boxes float32 [N, M, 4].
        device: of the batches.
    """

    def __init__(self, values: Mapping[str, NDArray[Any]], device: torch.device) -> None:
        self._numbers = {
            name: torch.from_numpy(array.copy()).to(device)
            for name, array in values.items()
            if array.ndim == 1
        }
        self._placed = {name: array for name, array in values.items() if array.ndim > 1}
        self._device = device

    def of(
        self, inputs: Inputs, positions: NDArray[np.int64], index: Tensor, epoch: int
    ) -> dict[str, Tensor]:
        """The targets of a batch, in the geometry of its images.

        Args:
            inputs: source of the images.
            positions: int64 [B], see :class:`~pneumo_cli.data.batch_inputs.Inputs`.
            index: int64 [B], the records, on ``device``.
            epoch: the epoch of the batch.
        """
        found = {name: values[index] for name, values in self._numbers.items()}
        if self._placed:
            moves: Any = inputs  # checked by check_movable
            placed = {
                name: torch.from_numpy(values[positions % len(values)]).to(self._device, non_blocking=True)
                for name, values in self._placed.items()
            }
            found.update(moves.targets(placed, positions, epoch))
        return found


def check_movable(
    targets: Iterable[Target], transforms: Iterable[Transform], sources: Iterable[Inputs], trainer: str
) -> None:
    """Check that masks and boxes can follow the images.

    Args:
        targets: of the dataset.
        trainer: its name and distribution, for the error.

    Raises:
        UsageError: a transform or a source of batches does not say how it moves them.
    """
    placed = [target.name for target in targets if target.kind != "number"]
    if not placed:
        return
    parts: list[Transform | Inputs] = [*transforms, *sources]
    wrong = [type(one).__name__ for one in parts if not _moves_targets(one)]
    if wrong:
        raise UsageError(
            f"the trainer {trainer} cannot train on {', '.join(placed)}: its {' and '.join(dict.fromkeys(wrong))} "
            "does not say how masks and boxes move with the images (the method targets, see "
            "pneumo_cli.data.Transform)"
        )


def _moves_targets(part: Transform | Inputs) -> bool:
    """Whether it has a method ``targets``; one that overrides ``__call__`` alone moves images in its own way."""
    for kind in type(part).__mro__:
        if "targets" in vars(kind):
            return True
        if "__call__" in vars(kind):
            return False
    return False
