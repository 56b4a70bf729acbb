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
from pneumo_cli.errors import UnreadableImage

DEPTHS = (8, 10, 12, 14, 16)
"""Depths of radiographs in bits: one of them is assumed where a file does not state its own."""

_MAX_SAMPLE_VALUE = 281  # TIFF 6.0, section 8
STORAGE = 2**15 - 1
"""Such a highest value, and a higher one, is that of a 16-bit integer, and says nothing of the image."""
_SATURATED = 2**16 - 1
_FEW = 32
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
    """Scale values from 0 to ``white``, at most 65,535, to gray levels and round them; higher ones are white."""
    table = (np.minimum(np.arange(2**16), white) * 255 + white // 2) // white
    gray: NDArray[np.uint8] = table.astype(np.uint8)[values]
    return gray


def in_order(values: NDArray[Any]) -> NDArray[Any]:
    """16-bit values [H, W, ...] in the order of bytes in which neighbours are close: some writers swap it."""
    step = max(1, len(values) // 64)
    rows, below = values[:-1:step], values[1::step]
    swapped = _roughness(rows.byteswap(), below.byteswap())
    return values.byteswap() if 4 * swapped < _roughness(rows, below) else values


def _roughness(rows: NDArray[Any], below: NDArray[Any]) -> float:
    """The differences between neighbours, as a share of the range of the values."""
    above, below = rows.astype(np.int32), below.astype(np.int32)
    span = int(above.max()) - int(above.min()) if above.size else 0
    beside = np.abs(np.diff(above, axis=1)).sum(dtype=np.int64)
    return float(beside + np.abs(below - above).sum(dtype=np.int64)) / span if span else 0.0


def signed_to_gray(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scale signed integers from the power of two below the lowest of them to that above the highest.

    Raises:
        UnreadableImage: they have more than 16 bits, or several channels.
    """
    if bits > 16 or values.ndim != 2:
        raise UnreadableImage(f"signed integers of {bits} bits; at most 16, of one channel, can be read")
    if bits == 8:
        values = values.view(np.int8)  # Pillow has taken them as unsigned
    lowest, highest = min(-1, int(values.min())), max(0, int(values.max()))
    low, high = -(2 ** (~lowest).bit_length()), 2 ** highest.bit_length() - 1
    gray: NDArray[np.uint8] = np.rint((values.astype(np.float32) - low) * (255 / (high - low))).astype(
        np.uint8
    )
    return gray


def floats_to_gray(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scale numbers from 0 to 1 if all lie there, else from the lowest to the highest of them.

    Raises:
        UnreadableImage: one is not finite, or that leaves few gray levels of many values.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise UnreadableImage("values that are not finite")
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    gray = np.rint(255 * ((values.astype(np.float64) - low) / (high - low or 1.0))).astype(np.uint8)
    levels = len(np.unique(gray))
    if levels < _FEW and len(np.unique(values)) >= 8 * levels:
        raise UnreadableImage(f"values from {low:g} to {high:g} of which most become {levels} gray levels")
    return gray


def largest_value(values: NDArray[Any]) -> int:
    """The largest of some 16-bit values; of those below 65,535 if they need at most 14 bits.

    Text and borders are that white in images of fewer bits.

    Raises:
        UnreadableImage: the range from 0 to that value would leave few gray levels of many values, as with signed
            values that were stored without their sign.
    """
    counts = np.zeros(2**16, np.int64)
    flat = values.reshape(-1)
    for first in range(0, len(flat), 2**22):  # bincount needs eight bytes for each
        counts += np.bincount(flat[first : first + 2**22], minlength=2**16)
    used = np.flatnonzero(counts)
    largest = int(used[-1])
    if largest == _SATURATED and len(used) > _FEW and used[-2] < 2**14:
        largest = int(used[-2])
    levels = len(np.unique(to_gray(used, 2 ** needed_bits(largest) - 1)))
    if levels < _FEW and len(used) >= 8 * levels:
        raise UnreadableImage(
            f"{len(used):,} different values from {used[0]:,} to {used[-1]:,} in 16 bits are {levels} gray levels: "
            "save it from 0 to its highest value"
        )
    return largest


def is_deep(image: Image.Image) -> bool:
    """Whether an image that Pillow has opened has unsigned gray values of 9 to 16 bits."""
    return image.mode.startswith("I;16")


def may_be_deep(start: bytes) -> bool:
    """Whether a file that begins so may hold more than 8 bits without a statement: a PNG of 16 bits, a TIFF, a PGM.

    Args:
        start: at least its first 25 bytes.
    """
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return start[24:25] == b"\x10"
    return start.startswith((b"II", b"MM", b"P5", b"P2"))


def stated_bits(image: Image.Image, data: bytes) -> int | None:
    """The depth that the header of a 16-bit gray image states, if it is less than that of the container."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
        if bits == 16:
            bits = max(8, _highest(image).bit_length())
    else:
        chunks = png_chunks(data[:_CHUNKS_SEARCHED])
        begin, end = next(((begin, end) for name, begin, end in chunks if name == b"sBIT"), (0, 0))
        bits = data[begin + 8] if end == begin + 13 else 16
    return bits if 0 < bits < STORAGE.bit_length() else None


def _highest(image: TiffImagePlugin.TiffImageFile) -> int:
    """The stated highest value of a TIFF."""
    highest = image.tag_v2.get(_MAX_SAMPLE_VALUE)
    highest = highest[0] if isinstance(highest, tuple) and highest else highest
    return highest if isinstance(highest, int) else _SATURATED


def depth_of(image: Image.Image, data: bytes, values: NDArray[Any]) -> SampleDepth:
    """The depth of a 16-bit gray image that Pillow has opened from ``data``.

    Args:
        values: its values, uint16 [H, W].

    Raises:
        UnreadableImage: as :func:`largest_value`.
    """
    stated, largest = stated_bits(image, data), largest_value(values)
    if stated is not None and largest >= 2**stated:
        # A PNG whose values need all bits then follows its standard: values of fewer bits are scaled to the whole
        # range, and the chunk only says how many bits they had. Elsewhere the statement is wrong.
        stated = 16 if image.format == "PNG" and needed_bits(largest) == 16 else None
    elif (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and _highest(image) == largest != 2 ** (stated or 0) - 1
    ):
        stated = None  # it is the largest value of this file, a statistic, and no depth
    return SampleDepth(stated, largest)
