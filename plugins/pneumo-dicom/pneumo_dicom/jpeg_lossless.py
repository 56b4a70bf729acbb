"""Decode JPEG Lossless (ITU-T T.81 annex H), the commonest compression of radiographs in DICOM archives.

In NumPy, because what else decodes it is either under the GPL or ends the whole process on damaged data. Huffman
codes follow one another, so only the walk from code to code is a loop; everything else is done for all pixels at
once: about half a second per million. Grey pictures, predictors 1 (the one of DICOM's JPEG Lossless SV1) and 2.
"""

from __future__ import annotations

import re
import struct

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**18  # bytes of which every bit is looked at as a possible beginning of a code
_BAD = 255
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def decode_jpeg_lossless(stream: bytes) -> NDArray[np.uint16]:
    """Decode a stream of one component.

    Args:
        stream: from the SOI marker on. Its size is not checked: the caller has done that.

    Returns:
        uint16 [H, W], of the precision that the stream has: 2 to 16 bits.

    Raises:
        ValueError: it is damaged or truncated, has several components, or another predictor.
    """
    tables: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    precision = height = width = interval = 0
    place = 2
    while True:
        if place + 4 > len(stream) or stream[place] != 0xFF:
            raise ValueError("no picture in a JPEG stream")
        marker = stream[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        length = int.from_bytes(stream[place + 2 : place + 4], "big")
        content = stream[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)
        if marker == 0xC4:
            while content:
                tables[content[0] & 15], content = _table(content)
        elif marker == 0xC3:
            precision, height, width, components = struct.unpack_from(">BHHB", content)
            if components != 1 or not 2 <= precision <= 16 or not height or not width:
                raise ValueError("no grey picture of 2 to 16 bits")
        elif 0xC0 <= marker <= 0xCF:
            raise ValueError("another sort of JPEG than lossless")
        elif marker == 0xDD:
            interval = int.from_bytes(content[:2], "big")
        elif marker == 0xDA:
            break
    if not precision or len(content) < 6 or content[0] != 1 or content[2] >> 4 not in tables:
        raise ValueError("a damaged scan")
    predictor, shift = content[3], content[5] & 15
    if predictor not in (1, 2) or shift >= precision:
        raise ValueError(f"predictor {predictor}, shift {shift}")
    end = _END.search(stream, place)
    scan = stream[place : end.start() if end else len(stream)]
    rows = interval // width if interval else height
    if not rows or interval % width:
        raise ValueError("restarts within a row")
    strips = _RESTART.split(scan) if interval else [scan]
    result = np.empty((height, width), np.uint16)
    for number, top in enumerate(range(0, height, rows)):
        if number >= len(strips):
            raise ValueError("truncated")
        part = result[top : top + rows]
        differences = _differences(
            strips[number].replace(b"\xff\0", b"\xff"), part.size, *tables[content[2] >> 4]
        )
        part[:] = _undone(differences.reshape(part.shape), predictor, 1 << (precision - shift - 1)) << shift
    return result


def _table(content: bytes) -> tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], bytes]:
    """Read a Huffman table (T.81 annex C); return it for every 16 bits that may follow, and what is left.

    It is the length of the code that they begin with, and its category: how many bits the difference has.
    """
    counts, values = content[1:17], content[17:]
    total = sum(counts)
    if len(counts) < 16 or len(values) < total:
        raise ValueError("a damaged Huffman table")
    lengths = np.repeat(np.arange(1, 17), list(counts))
    spans = 1 << (16 - lengths)  # so many of the 65,536 begin with a code of this length
    if spans.sum() > 2**16:
        raise ValueError("an impossible Huffman table")
    size = np.ones(2**16, np.uint8)
    category = np.full(2**16, _BAD, np.uint8)
    size[: spans.sum()] = np.repeat(lengths, spans)
    category[: spans.sum()] = np.repeat(np.frombuffer(values[:total], np.uint8), spans)
    category[category > 16] = _BAD
    return (size, category), values[total:]


def _differences(
    scan: bytes, count: int, size: NDArray[np.uint8], category: NDArray[np.uint8]
) -> NDArray[np.int32]:
    """The first ``count`` differences [count] of a scan without stuffing.

    Raises:
        ValueError: there are fewer, or something that is no code.
    """
    extra = np.where(
        category < 16, category, 0
    )  # category 16 is one difference, 32,768, without further bits
    step = size + extra
    data = np.frombuffer(scan + bytes(8), np.uint8).astype(np.uint32)
    result = np.empty(count, np.int32)
    done = position = 0
    while done < count:
        first = position >> 3
        if first >= len(scan):
            raise ValueError("truncated")
        last = min(first + _CHUNK, len(scan))
        following = data[first:last] << 16 | data[first + 1 : last + 1] << 8 | data[first + 2 : last + 2]
        windows = (
            following[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF
        )  # [bytes, bit of the byte]
        steps = step[windows].tobytes()
        begins: list[int] = []
        place, wanted = position - 8 * first, count - done
        stop = len(steps)
        for _ in range(wanted):
            if place >= stop:
                break
            begins.append(place)
            place += steps[place]
        at = np.array(begins)
        windows = windows.reshape(-1)[at]
        bits = category[windows].astype(np.int64)
        if (bits == _BAD).any():
            raise ValueError("a damaged code")
        value_at = 8 * first + at + size[windows]
        byte = value_at >> 3
        three = (data[byte] << 16 | data[byte + 1] << 8 | data[byte + 2]).astype(np.int64)
        value = (three >> (8 - (value_at & 7)) & 0xFFFF) >> (16 - bits)
        value += np.where(value < 1 << np.maximum(bits - 1, 0), 1 - (1 << bits), 0)  # T.81 F.2.2.1, EXTEND
        result[done : done + len(at)] = np.where(bits == 16, 32_768, value)
        done += len(at)
        position = 8 * first + place
    if position > 8 * len(scan):
        raise ValueError("truncated")
    return result


def _undone(differences: NDArray[np.int32], predictor: int, middle: int) -> NDArray[np.uint16]:
    """Add up differences [H, W] along the rows (predictor 1) or columns (2), modulo 65,536 (T.81 H.1.2.1)."""
    sums = differences.copy()
    sums[0, 0] += middle
    if predictor == 1:
        sums[:, 0] = np.cumsum(sums[:, 0], dtype=np.int32)  # the first of each row follows from the one above
        sums = np.cumsum(sums, axis=1, dtype=np.int32)
    else:
        sums[0] = np.cumsum(sums[0], dtype=np.int32)
        sums = np.cumsum(sums, axis=0, dtype=np.int32)
    return (sums & 0xFFFF).astype(np.uint16)
