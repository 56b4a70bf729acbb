"""Decoding JPEG Lossless (ITU-T T.81 annex H), the most common compression of radiographs in DICOM archives.

In NumPy, because other decoders are under the GPL or end the process on damaged data. Only the walk from Huffman
code to Huffman code is a loop; everything else is vectorised: about half a second per million pixels. Gray images,
predictors 1 (that of DICOM's JPEG Lossless SV1) and 2.
"""

from __future__ import annotations

import re
import struct

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**18  # bytes at whose every bit a code is looked up at once
_BAD = 255
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")


def decode_jpeg_lossless(stream: bytes) -> NDArray[np.uint16]:
    """Decode a stream of one component.

    Args:
        stream: from the SOI marker on. The caller has to check its image size.

    Returns:
        uint16 [H, W], of the stream's precision: 2 to 16 bits.

    Raises:
        ValueError: it is damaged or truncated, or has several components or another predictor.
    """
    tables: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    precision = height = width = interval = 0
    place = 2
    while True:
        if place + 4 > len(stream) or stream[place] != 0xFF:
            raise ValueError("no image in a JPEG stream")
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
                raise ValueError("no gray image of 2 to 16 bits")
        elif 0xC0 <= marker <= 0xCF:
            raise ValueError("a JPEG process other than lossless")
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
        strip = result[top : top + rows]
        unstuffed = strips[number].replace(b"\xff\0", b"\xff")
        differences = _differences(unstuffed, strip.size, *tables[content[2] >> 4]).reshape(strip.shape)
        strip[:] = _summed(differences, predictor, 1 << (precision - shift - 1)) << shift
    return result


def _table(content: bytes) -> tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], bytes]:
    """Read a Huffman table (T.81 annex C); return it for each pattern of 16 bits, and the remaining content.

    For each pattern it has the length of the code at its beginning, and the category: the number of bits of the
    difference that follows the code.
    """
    counts, values = content[1:17], content[17:]
    total = sum(counts)
    if len(counts) < 16 or len(values) < total:
        raise ValueError("a damaged Huffman table")
    lengths = np.repeat(np.arange(1, 17), list(counts))
    spans = 1 << (16 - lengths)  # number of the 65,536 patterns that begin with such a code
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
        ValueError: there are fewer, or an invalid code.
    """
    # Category 16 is a single difference, 32,768, without further bits.
    step = size + np.where(category < 16, category, 0)
    data = np.frombuffer(scan + bytes(8), np.uint8).astype(np.uint32)
    result = np.empty(count, np.int32)
    done = position = 0
    while done < count:
        first = position >> 3
        if first >= len(scan):
            raise ValueError("truncated")
        last = min(first + _CHUNK, len(scan))
        following = data[first:last] << 16 | data[first + 1 : last + 1] << 8 | data[first + 2 : last + 2]
        windows = following[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF  # [byte, bit]
        steps = step[windows].tobytes()
        begins: list[int] = []
        place, stop = position - 8 * first, len(steps)
        for _ in range(count - done):
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


def _summed(differences: NDArray[np.int32], predictor: int, middle: int) -> NDArray[np.uint16]:
    """Sum differences [H, W] along the rows (predictor 1) or columns (2), modulo 65,536 (T.81 H.1.2.1)."""
    sums = differences.copy()
    sums[0, 0] += middle
    if predictor == 1:
        sums[:, 0] = np.cumsum(sums[:, 0], dtype=np.int32)  # each row's first pixel is predicted from above
        sums = np.cumsum(sums, axis=1, dtype=np.int32)
    else:
        sums[0] = np.cumsum(sums[0], dtype=np.int32)
        sums = np.cumsum(sums, axis=0, dtype=np.int32)
    return (sums & 0xFFFF).astype(np.uint16)
