"""The elements of a DICOM file that matter for the image, cut out of whatever else it holds.

Sequences may be nested and private elements large without limit. pydicom reads them recursively and keeps them, so
only the wanted elements are handed to it; the others are skipped here, without recursion and without being kept.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from pneumo_cli.errors import UnreadableImage
from pneumo_dicom.recognition import MAGIC_AT

PIXEL_DATA = 0x7FE00010

_META_GROUP = b"\2\0"
_TRANSFER_SYNTAX = 0x00020010
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Value representations with a length of 32 bits (PS3.5 table 7.1-1)."""
_MAX_STEPS = 2_000_000
_MAX_VALUE = 4 * 2**20
"""The largest wanted element but the pixels: some lookup tables of 128 KiB each."""


def file_meta(data: bytes) -> tuple[str, int]:
    """The transfer syntax that a DICOM file states, empty if none, and where its data set begins."""
    walk = _Walk(data, _after_preamble(data), implicit=False)
    syntax = ""
    while data[walk.place : walk.place + 2] == _META_GROUP and walk.place + 8 <= len(data):
        tag, length = walk.header("<")
        if tag == _TRANSFER_SYNTAX:
            syntax = data[walk.place : walk.place + min(length, 64)].decode("ascii", "replace").strip("\0 ")
        walk.skip("<", length)
    return syntax, walk.place


def with_meta(data_set: bytes, syntax: str) -> bytes:
    """A DICOM file with this data set and nothing but the transfer syntax in its file meta information."""
    text = syntax.encode("ascii", "replace")
    text += b"\0" * (len(text) % 2)
    return (
        bytes(MAGIC_AT) + b"DICM" + struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(text)) + text + data_set
    )


def wanted_elements(data: bytes, wanted: Collection[int | None]) -> bytes:
    """The file with the transfer syntax and only those elements of the data set.

    Args:
        data: a DICOM file that is not deflated.
        wanted: tags as ``group << 16 | element``. Reading ends with the pixels.

    Raises:
        UnreadableImage: it has millions of elements, or a wanted one is far larger than any image needs.
    """
    syntax, begin = file_meta(data)
    order = ">" if syntax == _BIG_ENDIAN else "<"
    walk = _Walk(data, begin, implicit=not _is_representation(data[begin + 4 : begin + 6]))
    parts = []
    while walk.place + 8 <= len(data):
        first = walk.place
        tag, length = walk.header(order)
        if tag == PIXEL_DATA:
            if PIXEL_DATA in wanted:
                parts.append(data[first:])
            break
        walk.skip(order, length)
        if tag in wanted:
            if walk.place - first > _MAX_VALUE:
                size = (walk.place - first) // 2**20
                raise UnreadableImage(
                    f"a damaged DICOM file: element {tag >> 16:04x},{tag & 0xFFFF:04x} of {size:,} MiB"
                )
            parts.append(data[first : walk.place])
    content = b"".join(parts)
    return with_meta(content, syntax) if syntax else data[: _after_preamble(data)] + content


def _after_preamble(data: bytes) -> int:
    return MAGIC_AT + 4 if data[MAGIC_AT : MAGIC_AT + 4] == b"DICM" else 0


def _is_representation(kind: bytes) -> bool:
    """Whether two bytes are a value representation, and not the beginning of a length."""
    return len(kind) == 2 and kind.isalpha() and kind.isupper()


class _Walk:
    """A place in the data, and how many elements were passed on the way."""

    def __init__(self, data: bytes, place: int, *, implicit: bool) -> None:
        self._data = data
        self._implicit = implicit
        self._steps = 0
        self.place = place

    def header(self, order: str) -> tuple[int, int]:
        """Read the tag and the length of the element here, and move to its value."""
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise UnreadableImage(f"a damaged DICOM file: more than {_MAX_STEPS // 10**6} million elements")
        data, place = self._data, self.place
        group, element = struct.unpack_from(f"{order}2H", data, place)
        kind = data[place + 4 : place + 6]
        self.place += 8
        # Items have no value representation. Some writers switch to implicit ones within sequences.
        if self._implicit or group == 0xFFFE or not _is_representation(kind):
            (length,) = struct.unpack_from(f"{order}I", data, place + 4)
        elif kind in _LONG:
            (length,) = struct.unpack_from(f"{order}I", data, place + 8) if place + 12 <= len(data) else (0,)
            self.place += 4
        else:
            (length,) = struct.unpack_from(f"{order}H", data, place + 6)
        return group << 16 | element, length

    def skip(self, order: str, length: int) -> None:
        """Move behind the value here, which may be a sequence of undefined length."""
        if length != _UNDEFINED:
            self.place += length
            return
        depth = 1  # of open sequences and items
        while depth and self.place + 8 <= len(self._data):
            tag, length = self.header(order)
            if tag in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            elif length == _UNDEFINED:
                depth += 1
            else:
                self.place += length
