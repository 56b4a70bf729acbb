"""How many bits of a 16-bit container hold the image, and its values as gray levels.

Detectors deliver 10 to 14 bits, which PNG, TIFF and PGM store in 16: taken as 16, they are 4 to 64 gray levels. The
range is what the file states, else what its dataset's files have in common, else what its own values need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from pneumo_cli.data.metadata import png_chunks

DEPTHS = (8, 10, 12, 14, 16)
"""Depths of radiographs in bits: one of them is assumed where a file does not state its own."""

_MAX_SAMPLE_VALUE = 281  # TIFF 6.0, section 8
_CHUNKS_SEARCHED = 2**20  # bytes of a PNG; sBIT stands before the pixels


@dataclass(frozen=True)
class SampleDepth:
    """The depth of a 16-bit container of gray values.

    Attributes:
        stated: the bits that the file states. None: it states nothing, all bits of the container, or too few.
        largest: its largest value, 0 to 65,535.
    """

    stated: int | None
    largest: int

    @property
    def bits(self) -> int:
        """The bits that the file is scaled by on its own: those that it states, else those that it needs."""
        return self.stated or needed_bits(self.largest)


def needed_bits(largest: int) -> int:
    """The smallest of :data:`DEPTHS` that holds a value of 0 to 65,535."""
    return next(bits for bits in DEPTHS if largest < 2**bits)


def scaling_text(bits: int, largest: int) -> str:
    """How 16-bit files were scaled, for people: ``16-bit files scaled as 12 bits (largest value 4,080)``."""
    return f"16-bit files scaled as {bits} bits (largest value {largest:,})"


def to_gray(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Scale values from 0 to ``white``, at most 65,535, to gray levels and round them."""
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def is_deep(image: Image.Image) -> bool:
    """Whether an image that Pillow has opened has unsigned gray values of 9 to 16 bits."""
    return image.mode.startswith("I;16")


def may_be_deep(start: bytes) -> bool:
    """Whether a file that begins so may hold more than 8 bits without a statement: a PNG of 16 bits, a TIFF, a PGM.

    Args:
        start: at least its first :data:`START` bytes.
    """
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return start[24:25] == b"\x10"
    return start.startswith((b"II", b"MM", b"P5", b"P2"))


START = 32
"""Bytes of a file that :func:`may_be_deep` needs."""


def stated_bits(image: Image.Image, data: bytes) -> int | None:
    """The depth that the header of a 16-bit gray image states, if it is less than that of the container."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
        if bits == 16:
            highest = image.tag_v2.get(_MAX_SAMPLE_VALUE, 2**16 - 1)
            highest = highest[0] if isinstance(highest, tuple) and highest else highest
            bits = max(8, highest.bit_length()) if isinstance(highest, int) else 16
    else:
        chunks = png_chunks(data[:_CHUNKS_SEARCHED])
        begin, end = next(((begin, end) for name, begin, end in chunks if name == b"sBIT"), (0, 0))
        bits = data[begin + 8] if end == begin + 13 else 16
    return bits if 0 < bits < 16 else None


def depth_of(image: Image.Image, data: bytes) -> SampleDepth:
    """The depth of a 16-bit gray image (:func:`is_deep`) that Pillow has opened from ``data``; decodes it."""
    stated, largest = stated_bits(image, data), int(np.asarray(image).max())
    if stated is not None and largest >= 2**stated:
        # A PNG then follows its standard: values of fewer bits are scaled to the whole range, and the chunk only
        # says how many bits they had. Elsewhere the statement is wrong.
        stated = 16 if image.format == "PNG" else None
    return SampleDepth(stated, largest)
