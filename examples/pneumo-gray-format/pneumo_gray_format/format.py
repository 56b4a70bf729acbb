"""The format: ``GRAY``, height and width as little-endian 32-bit numbers, then the gray levels row by row."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from pneumo_cli import UnreadableImage

_HEADER = struct.Struct("<4sII")


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a file.

    Args:
        data: its content, from whatever source: nothing in it is trusted.
        max_pixels: the most that an image may have.

    Returns:
        uint8 [H, W].

    Raises:
        UnreadableImage: it is cut off, empty, too large, or has more bytes than its header says.
    """
    if len(data) < _HEADER.size:
        raise UnreadableImage("the header of the gray file is cut off")
    _, height, width = _HEADER.unpack_from(data)
    if not 0 < height * width <= max_pixels:
        raise UnreadableImage(f"the gray file has {height} x {width} pixels; 1 to {max_pixels:,} are read")
    if len(data) != _HEADER.size + height * width:
        raise UnreadableImage(
            f"the gray file has {len(data) - _HEADER.size:,} of {height * width:,} gray levels"
        )
    return np.frombuffer(data, np.uint8, offset=_HEADER.size).reshape(height, width)


def encode(levels: NDArray[np.uint8]) -> bytes:
    """Encode gray levels, uint8 [H, W]."""
    return _HEADER.pack(b"GRAY", *levels.shape) + levels.tobytes()
