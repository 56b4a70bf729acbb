"""Sources of a loader's batches: decoded images, transformed into a network's input.

Behind one protocol, so that a loader need not know whether a batch holds images or, where the first stages of the
network are frozen, their cached features (:mod:`pneumo_cli.data.feature_cache`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.augmentation import EvaluationTransform, ReportAugmentation, Transform

_IMAGE_BY_IMAGE = (EvaluationTransform, ReportAugmentation)  # themselves, not what is derived from them
# Gray levels of an image. Of a larger one, alone in its batch, torch divides the sum among threads.
_SMALL = 2**14 - 1
_AT_ONCE = 2**18  # gray levels of the images that are made at once: 1 MiB in float32


class Inputs(Protocol):
    """Source of batches.

    For datasets with masks or boxes it has a further method, which moves them as it moves the images; with V views
    of each image, as the first::

        def targets(self, targets: Mapping[str, Tensor], positions: NDArray[np.int64], epoch: int)

    Attributes:
        stage: number of stages of the network already applied: 0 for images.
    """

    stage: int

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> Tensor:
        """Return the input for some records, on the device of the run.

        Args:
            positions: int64 [B], positions in the dataset's N records; position + r * N is repetition r of an image
                within the epoch: another augmentation of the same image.
            epoch: the epoch of the batch.

        Returns:
            [B, ...]; or [V * B, ...] with V views of each image, the first views of all images first.
        """
        ...


class ImageInputs:
    """Images, transformed each time. An :class:`Inputs`.

    Args:
        images: uint8 or uint16, [N, S, S] or [N, C, S, S], all images of the dataset; on the CPU or already on
            ``device``.
        transform: returns the network's input; is also given the index, on the CPU, and the epoch.
        device: device of the batches.
        memory_format: of the batches, such as ``torch.channels_last``.
    """

    stage = 0

    def __init__(
        self,
        images: Tensor,
        transform: Transform,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._images = images
        self._transform = transform
        self._device = device
        self._memory_format = memory_format

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> Tensor:
        index = torch.from_numpy(positions.copy())
        positions = positions % len(self._images)
        if self._images.device.type == "cpu":
            # NumPy copies whole rows; torch's indexing takes two to four times as long.
            rows = torch.from_numpy(self._images.numpy()[positions]).to(self._device, non_blocking=True)
        else:
            chosen = torch.from_numpy(positions).to(self._device, non_blocking=True)
            # CUDA and XPU do not index uint16.
            own = self._images.dtype
            rows = self._images.view(torch.int16 if own == torch.uint16 else own)[chosen].view(own)
        return self._transform(rows, index, epoch).contiguous(memory_format=self._memory_format)

    @property
    def at_once(self) -> int:
        """See :func:`images_at_once`."""
        values = math.prod(self._images.shape[1:])
        if self._device.type != "cpu" or type(self._transform) not in _IMAGE_BY_IMAGE or values > _SMALL:
            return 0
        return _AT_ONCE // values

    def targets(
        self, targets: Mapping[str, Tensor], positions: NDArray[np.int64], epoch: int
    ) -> Mapping[str, Tensor]:
        """Masks and boxes, moved as the transform moves the images."""
        transform: Any = self._transform
        moved: Mapping[str, Tensor] = transform.targets(targets, torch.from_numpy(positions.copy()), epoch)
        return moved


def images_at_once(inputs: Inputs) -> int:
    """How many images are made at once for several batches, at least one batch of them; 0: batch by batch.

    Of small images most of the time goes into the calls of torch and NumPy, and not into pixels: those of several
    batches are made in one pass, whose result for an image does not depend on the others. That is known of pneumo's
    own transforms on the CPU; whatever else may be a plugin's is called for each batch.
    """
    if type(inputs) is not ImageInputs:
        return 0
    return inputs.at_once


class FlipTTA:
    """Two views of each image: as it is, and horizontally flipped. An :class:`Inputs`."""

    stage = 0

    def __init__(self, images: ImageInputs) -> None:
        self._images = images

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> Tensor:
        images = self._images(positions, epoch)
        return torch.cat((images, images.flip(-1)))

    def targets(
        self, targets: Mapping[str, Tensor], positions: NDArray[np.int64], epoch: int
    ) -> Mapping[str, Tensor]:
        """Masks and boxes of the first view."""
        return self._images.targets(targets, positions, epoch)


class Transforms(NamedTuple):
    """Transforms from stored images to the model's input.

    Attributes:
        train: for training, with augmentation.
        evaluation: for everything else.
    """

    train: Transform
    evaluation: Transform


class Sources(NamedTuple):
    """Sources of batches.

    Attributes:
        train: for training.
        evaluation: for evaluation on training and validation images.
        test: for the test images.
    """

    train: Inputs
    evaluation: Inputs
    test: Inputs
