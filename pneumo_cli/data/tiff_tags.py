"""The first directory of a TIFF file, read without Pillow, which does not open every variant.

Classic and BigTIFF of both byte orders (TIFF 6.0, section 2). Nothing in it is trusted: what lies outside of the
file does not exist.
"""

from __future__ import annotations

import struct

import numpy as np

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLES_PER_PIXEL = 258, 259, 262, 277
STRIP_BYTE_COUNTS, PLANAR_CONFIGURATION, SAMPLE_FORMAT = 279, 284, 339

_KINDS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # BYTE, SHORT, LONG, LONG8
_COMPRESSIONS = {
    1: "no compression",
    **dict.fromkeys((2, 3, 4), "CCITT"),
    5: "LZW",
    **dict.fromkeys((6, 7), "JPEG"),
    **dict.fromkeys((8, 32946), "deflate"),
    32773: "PackBits",
    34712: "JPEG 2000",
    50000: "Zstandard",
    50001: "WebP",
}
_FORMATS = {
    1: "integers",
    2: "signed integers",
    3: "floating point",
    5: "complex integers",
    6: "complex numbers",
}


class TiffTags:
    """The numbers of a TIFF file's first directory.

    Args:
        data: content of the file, which begins as a TIFF does.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data.startswith(b"II") else ">"
        big = b"+" in data[2:4]
        layout, wide = ("HHQ", "Q") if big else ("HHI", "I")
        inside = struct.calcsize(f"={wide}")  # bytes of a value that stand in the entry itself
        entry = struct.calcsize(f"={layout}") + inside
        self._places: dict[int, tuple[str, int, int]] = {}
        try:
            (start,) = struct.unpack_from(f"{self._order}{wide}", data, 8 if big else 4)
            (entries,) = struct.unpack_from(f"{self._order}{'Q' if big else 'H'}", data, start)
            start += 8 if big else 2
            for place in range(start, min(start + entries * entry, len(data) - entry + 1), entry):
                tag, kind, count = struct.unpack_from(f"{self._order}{layout}", data, place)
                if kind not in _KINDS:
                    continue
                value = place + entry - inside
                if count * int(_KINDS[kind][1]) > inside:
                    (value,) = struct.unpack_from(f"{self._order}{wide}", data, value)
                self._places.setdefault(tag, (_KINDS[kind], count, value))
        except (struct.error, OverflowError):  # damaged: Pillow says so
            pass

    def values(self, tag: int) -> tuple[int, ...]:
        """The numbers of a tag; empty without it, and for other things than unsigned numbers."""
        kind, count, place = self._places.get(tag, ("u1", 0, 0))
        count = min(count, max(0, len(self._data) - place) // int(kind[1]))
        return tuple(np.frombuffer(self._data, f"{self._order}{kind}", count, place if count else 0).tolist())

    def first(self, tag: int, missing: int) -> int:
        """The first number of a tag."""
        return next(iter(self.values(tag)), missing)

    @property
    def zero_is_white(self) -> bool:
        """Whether the lowest value is white."""
        return self.first(PHOTOMETRIC, 1) == 0

    def with_black_as_zero(self) -> bytes:
        """The file as if its lowest value were black: Pillow knows more variants of such files."""
        if not self.zero_is_white:
            return self._data
        kind, _, place = self._places[PHOTOMETRIC]
        one = np.array([1], f"{self._order}{kind}").tobytes()
        return self._data[:place] + one + self._data[place + len(one) :]

    def __str__(self) -> str:
        """How the samples are stored: ``32 bits per sample, floating point, 1 sample per pixel, LZW``."""
        samples = self.first(SAMPLES_PER_PIXEL, 1)
        compression = self.first(COMPRESSION, 1)
        return ", ".join(
            (
                f"{self.first(BITS_PER_SAMPLE, 1)} bits per sample",
                _FORMATS.get(self.first(SAMPLE_FORMAT, 1), "samples of an unknown format"),
                f"{samples} {'sample' if samples == 1 else 'samples'} per pixel",
                _COMPRESSIONS.get(compression, f"compression {compression}"),
            )
        )
