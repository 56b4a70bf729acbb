"""Downsampling of many images by area averaging, for image comparisons and simple classifiers.

A network's images are resized by :func:`pneumo_cli.data.decoding.resize` instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.resizing import GrayImages

_CHUNK = 512  # images held as floating point at once


def shrunk(images: NDArray[np.uint8] | GrayImages, size: int) -> NDArray[np.float32]:
    """Downsample images; each new pixel is the mean over the area that it covers.

    Args:
        images: uint8 [N, S, S], 0 black to 255 white, of any size.
        size: new height and width in pixels.

    Returns:
        float32 [N, size, size], 0 to 1.

    Raises:
        ValueError: the images are not square, or a size is below 1.
    """
    if images.ndim != 3 or images.shape[1] != images.shape[2] or min(images.shape[1], size) < 1:
        raise ValueError(f"only images [N, S, S] can be downsampled to {size} px, not {list(images.shape)}")
    weights = area_weights(images.shape[1], size)
    small = np.empty((len(images), size, size), np.float32)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].astype(np.float32)
        small[start : start + _CHUNK] = weights @ chunk @ weights.T
    small /= 255
    return small


def area_weights(length: int, size: int, first: float = 0.0, last: float = 1.0) -> NDArray[np.float32]:
    """Weights of ``length`` pixels of a line in the ``size`` pixels that replace them, or a section of them.

    Args:
        length, size: numbers of pixels, at least 1.
        first, last: start and end of the section, as shares of the length.

    Returns:
        float32 [size, length]; each row sums to 1.
    """
    edges = length * np.linspace(first, last, size + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(length)[None, :]
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    weights: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return weights
