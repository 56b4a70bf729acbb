"""What a loader's batches are made of: rows of the decoded images, transformed into a network's input.

One of several sources behind one protocol, so that a loader need not know whether a network begins at the images
or, where its first stages are frozen, at what they made of them (:mod:`pneumo_cli.data.feature_cache`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.augmentation import Transform


class Inputs(Protocol):
    """Makes the input of a batch.

    Attributes:
        stage: how many stages of the network lie behind what it makes: 0 for images.
    """

    stage: int

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> Tensor:
        """Return the input for some records, on the device of the run.

        Args:
            positions: int64 [B], positions in the dataset's records.
            epoch: the epoch that the batch belongs to.

        Returns:
            [B, ...]; or [V * B, ...] where each image is judged in V views, the first views of all images first.
        """
        ...


class ImageInputs:
    """Images, transformed anew each time. An :class:`Inputs`.

    Args:
        images: uint8 [N, S, S], all images of the dataset; on the CPU or already on ``device``.
        transform: makes the network's input; it also gets the index on the CPU and the epoch.
        device: where batches are to be.
        memory_format: of the images, e.g. ``torch.channels_last``.
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
        if self._images.device.type == "cpu":
            # NumPy copies whole rows; torch's indexing takes two to four times as long here.
            rows = torch.from_numpy(self._images.numpy()[positions]).to(self._device, non_blocking=True)
        else:
            rows = self._images[index.to(self._device, non_blocking=True)]
        return self._transform(rows, index, epoch).contiguous(memory_format=self._memory_format)


class FlipTTA:
    """Each image as it is, and its mirror image: two views. An :class:`Inputs`.

    Args:
        images: makes the images.
    """

    stage = 0

    def __init__(self, images: ImageInputs) -> None:
        self._images = images

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> Tensor:
        images = self._images(positions, epoch)
        return torch.cat((images, images.flip(-1)))


class Transforms(NamedTuple):
    """How uint8 images become the model's input, in training and elsewhere."""

    train: Transform
    evaluation: Transform


class Sources(NamedTuple):
    """What batches are made of: in training, in judging training and validation images, and in the test."""

    train: Inputs
    evaluation: Inputs
    test: Inputs
