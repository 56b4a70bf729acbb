"""Images made smaller by the mean over areas, many at a time: what comparisons and simple classifiers look at.

Not how a network's images are resized; that is :func:`pneumo_cli.data.decoding.resize`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHUNK = 512  # images that are held as floating point at once


def shrunk(levels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Shrink images; each new pixel is the mean over the area that it covers.

    Args:
        levels: uint8 [N, S, S], 0 black to 255 white, of any size.
        size: new height and width in pixels.

    Returns:
        float32 [N, size, size], 0 to 1.

    Raises:
        ValueError: the images are not square, or a size is below 1.
    """
    if levels.ndim != 3 or levels.shape[1] != levels.shape[2] or min(levels.shape[1], size) < 1:
        raise ValueError(f"images of {size} px are made of images [N, S, S], not {list(levels.shape)}")
    weights = area_weights(levels.shape[1], size)
    small = np.empty((len(levels), size, size), np.float32)
    for start in range(0, len(levels), _CHUNK):
        part = levels[start : start + _CHUNK].astype(np.float32)
        small[start : start + _CHUNK] = weights @ part @ weights.T
    small /= 255
    return small


def area_weights(length: int, size: int, first: float = 0.0, last: float = 1.0) -> NDArray[np.float32]:
    """How much each of ``length`` pixels counts in each of ``size`` that cover the same line, or a part of it.

    Args:
        length, size: numbers of pixels, at least 1.
        first, last: where the part begins and ends, as shares of the length.

    Returns:
        float32 [size, length]; every row sums to 1.
    """
    edges = length * np.linspace(first, last, size + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(length)[None, :]
    overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    weights: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return weights
