"""Where in its allocated bits a DICOM value is: what the header says, or the pixels, if they contradict it.

PS3.5 section 8.1.1: a value has Bits Stored bits, the highest of which is High Bit, within Bits Allocated. Devices
state these wrongly, and old ones keep overlays in the bits that are left over (until PS3.5-2003).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.sample_depth import in_order

_FEWEST = 8
"""Bits of a radiograph: fewer, with others beside them, are a slip."""
_CARRIES = 0.75
_OVERSHOOT = 1 / 16
_CLOSE = 0.2


class Stored(NamedTuple):
    """Stored values.

    Attributes:
        values: uint8, int8, uint16 or int16 [H, W]; RGB uint8 [H, W, 3].
        bits: how many of their bits hold the image.
        shift: how many bits below these were dropped, since the values are left-aligned.
    """

    values: NDArray[Any]
    bits: int
    shift: int = 0


def aligned(words: NDArray[Any], stored: int, high: int | None, *, signed: bool) -> Stored:
    """The values in allocated words.

    - A High Bit above the stored bits means left-aligned values, unless the bits below these are used and the
      highest ones are not.
    - Bits above the stored ones are ignored, as overlays, unless they continue the values (:func:`_continue`):
      Bits Stored is then too low, and all bits count; a few values just above are what lossy compression makes of
      white.
    - Words whose neighbours are much closer with their bytes swapped are in the wrong order.
    - Values that are said to be signed are not, if without a sign they are continuous (:func:`_has_no_sign`).

    Args:
        words: uint8 or uint16 [H, W], as they are in the file.
        stored: Bits Stored, at most the bits of a word.
        high: High Bit, if it is stated.
        signed: whether the values are in two's complement (Pixel Representation 1).
    """
    width = 8 * words.dtype.itemsize
    if words.dtype.itemsize > 1:
        words = in_order(words)
    shift = 0
    if high is not None and stored <= high < width:
        shift = high + 1 - stored
        highest = int(words.max())
        below = bool((words & ((1 << shift) - 1)).any())
        if below and (highest < 2**stored or highest < 2 ** (high - 1)):
            shift = 0
    words = words >> shift
    signed = signed and not _has_no_sign(_value(words, stored, signed=False), stored)
    if stored < _FEWEST and int(words.max()) >> stored:
        stored = width
    if shift == 0 and stored < width and _continue(_value(words, width, signed=signed), stored):
        top = 2**stored - 1
        if not signed and words.max() <= top * (1 + _OVERSHOOT):
            words = np.minimum(words, words.dtype.type(top))
        else:
            stored = width
    return Stored(_value(words, stored, signed=signed), stored, shift)


def _has_no_sign(values: NDArray[Any], bits: int) -> bool:
    """Whether the highest bit is no sign: where it differs between neighbours, the unsigned values are close.

    Args:
        values: unsigned, [H, W].
    """
    highest = values >> (bits - 1)
    steps = crossings = 0
    for axis in (0, 1):
        crossing = np.diff(highest, axis=axis) != 0
        steps += int(np.abs(np.diff(values.astype(np.int32), axis=axis))[crossing].sum(dtype=np.int64))
        crossings += int(crossing.sum())
    return steps < _CLOSE * (crossings << bits)


def _continue(values: NDArray[Any], stored: int) -> bool:
    """Whether the bits above the stored ones belong to the values, which then pass from one to the next smoothly.

    Where these bits differ between neighbours by n, the difference of the values is about n times the weight of the
    lowest of them if they are an overlay, which is independent of the image below. It is less if they are a carry.

    Args:
        values: of all allocated bits, [H, W].
    """
    offset = 2 ** (stored - 1) if values.dtype.kind == "i" else 0  # a sign in all bits above is no content
    above = (values.astype(np.int32) + offset) >> stored
    if not above.any():
        return False
    real = overlay = 0
    for axis in (0, 1):
        jumps = np.abs(np.diff(above, axis=axis))
        steps = np.abs(np.diff(values.astype(np.int32), axis=axis))
        real += int(steps[jumps > 0].sum(dtype=np.int64))
        overlay += int(jumps.sum(dtype=np.int64)) << stored
    return real < _CARRIES * overlay


def _value(words: NDArray[Any], bits: int, *, signed: bool) -> NDArray[Any]:
    """The lowest bits of each word, with their sign."""
    if not signed:
        return words & ((1 << bits) - 1)
    spare = 8 * words.dtype.itemsize - bits
    return (words << spare).view(f"i{words.dtype.itemsize}") >> spare
