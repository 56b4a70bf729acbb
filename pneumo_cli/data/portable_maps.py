"""Reading portable gray maps and pixmaps (PGM and PPM of Netpbm), which state their white value.

Not by Pillow, which scales such values in a loop in Python.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.sample_depth import in_order
from pneumo_cli.errors import UnreadableImage

_SPACE = re.compile(rb"[ \t\n\v\f\r]*")
_LINE_END = re.compile(rb"[\r\n]")
_NUMBER = re.compile(rb"\d{1,9}")


class MapHeader(NamedTuple):
    """The header of a portable map.

    Attributes:
        kind: 2 and 5 gray, 3 and 6 colour; 2 and 3 are text.
        white: the stated highest value.
        begin: where the samples begin.
    """

    kind: int
    width: int
    height: int
    white: int
    begin: int

    @property
    def samples(self) -> int:
        """Number of samples of a pixel."""
        return 3 if self.kind in (3, 6) else 1


def map_header(data: bytes) -> MapHeader | None:
    """Read the header; None for bitmaps (PBM), which have no white value.

    Raises:
        UnreadableImage: it is damaged.
    """
    if data[1:2] in b"14":
        return None
    numbers: list[int] = []
    place = 2
    while len(numbers) < 3:
        place = _after_comments(data, place)
        match = _NUMBER.match(data, place)
        if match is None:
            raise UnreadableImage("a damaged header of a portable map")
        numbers.append(int(match[0]))
        place = match.end()
    width, height, white = numbers
    if not width or not height or not 0 < white < 2**16:
        raise UnreadableImage(
            f"a damaged header of a portable map: {width} x {height} pixels, highest value {white}"
        )
    header = MapHeader(int(data[1:2]), width, height, white, place + 1)
    # One white space precedes the samples: a line end of Windows counts as one, if there is a byte for it.
    count = width * height * header.samples * (2 if white > 255 else 1)
    if data[place : place + 2] == b"\r\n" and len(data) > header.begin + count:
        header = header._replace(begin=place + 2)
    return header


def map_values(data: bytes, header: MapHeader) -> NDArray[Any]:
    """The samples, unsigned [H, W] or [H, W, 3].

    Raises:
        UnreadableImage: there are too few, one exceeds the white value, or another image follows.
    """
    count = header.width * header.height * header.samples
    if header.kind in (2, 3):
        text = re.sub(rb"#[^\r\n]*", b"", data[header.begin :])
        values = _numbers(text)[:count]
        if values.size and values.min() < 0:
            raise UnreadableImage("a portable map with a negative value")
    else:
        dtype = np.dtype(">u2" if header.white > 255 else "u1")
        end = header.begin + count * dtype.itemsize
        if data[end : end + 2] == data[:2]:
            raise UnreadableImage("several images in a portable map; it may have only one")
        there = min(end, len(data)) - header.begin
        values = np.frombuffer(data, dtype, max(0, there) // dtype.itemsize, min(header.begin, len(data)))
        if dtype.itemsize == 2 and values.size == count:
            values = in_order(values.reshape(header.height, header.width, -1)).reshape(-1)
    if values.size < count:
        raise UnreadableImage(f"truncated: {values.size:,} of {count:,} values of a portable map")
    if values.max() > header.white:
        raise UnreadableImage(
            f"a portable map with a value of {values.max()}, above its stated highest value, {header.white}"
        )
    shape = (header.height, header.width, 3) if header.samples == 3 else (header.height, header.width)
    return values.astype(np.uint16).reshape(shape)


def _numbers(text: bytes) -> NDArray[np.int64]:
    try:
        return np.fromstring(text.decode("ascii"), np.int64, sep=" ")
    except ValueError:
        raise UnreadableImage("a damaged portable map: something else than numbers") from None


def _after_comments(data: bytes, place: int) -> int:
    while True:
        match = _SPACE.match(data, place)
        place = match.end() if match else place
        if data[place : place + 1] != b"#":
            return place
        end = _LINE_END.search(data, place)
        place = end.end() if end else len(data)
