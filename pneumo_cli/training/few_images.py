"""A run's data with a few of its images: for what is measured on them without decoding the whole dataset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.cache import DecodedImages, blank_images, cached_images, decode_some
from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.session import Setup, prepare_data, wanted_class

Choose: TypeAlias = Callable[[PreparedData], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""The few training and the few validation images, as positions, int64 [n]."""


@dataclass(frozen=True)
class FewImages:
    """The data of a run that is opened to be measured.

    Attributes:
        data: of the whole run; of images that the cache lacks, only the few are decoded.
        train, validation: positions of the few, int64 [n].
        cached: whether the cache has all images.
        decoded: number of images that were decoded now, without the cache.
        seconds: how long that took.
    """

    data: PreparedData
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    cached: bool
    decoded: int
    seconds: float


def few_images(
    setup: Setup,
    dataset: Dataset,
    progress: Progress,
    *,
    cache: Path,
    folder: Path,
    choose: Choose,
    anyway: int = 0,
) -> FewImages:
    """Open a run's data, and decode the few images that are chosen, unless the cache has all.

    Args:
        cache: folder of all caches; it is read.
        folder: for the images that are decoded: an empty one.
        choose: called once with the data, whose images may not be decoded yet.
        anyway: number of images to decode where the cache has them, to see how long it takes.

    Raises:
        PneumoError: the folder cannot be written, or the data are not available.
    """
    size = setup.resolved.trainer.image_size
    known = cached_images(dataset, size, cache)
    try:
        blank = blank_images(dataset, size, folder) if anyway or known is None else None
    except OSError as error:
        raise PneumoError(f"temporary files cannot be written: {error.strerror}") from error
    images = known or blank
    assert images is not None

    def decoded(*_: object) -> DecodedImages:
        return images

    data = prepare_data(
        setup.registries,
        setup.resolved,
        dataset,
        progress,
        size=size,
        only=wanted_class(setup),
        decode=decoded,
    )
    train, validation = choose(data)
    positions = np.concatenate((train, validation))[: None if known is None else anyway]
    began = time.perf_counter()
    if blank is not None:
        decode_some(dataset, blank, positions)
    seconds = time.perf_counter() - began
    return FewImages(data, train, validation, known is not None, len(positions), seconds)
