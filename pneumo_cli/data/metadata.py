"""Metadata of JPEG and PNG files: of any size, and never a reason to refuse the pixels.

Pillow reads text, profiles and thumbnails with the image, keeps them all, and refuses some that are large or
damaged. Files with much of it, and files that Pillow refuses, are therefore read without it.
"""

from __future__ import annotations

from collections.abc import Iterator

_USUAL_BYTES, _USUAL_COUNT = 2**20, 1000
_PNG_START = 8
_PNG_KEPT = frozenset({b"tRNS", b"eXIf", b"sBIT", b"acTL"})
"""Chunks beside the critical ones that matter for the picture, or say that there are several."""
_ORIENTATIONS = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
"""Beginnings of the segments that may state how the picture is turned."""

Span = tuple[int, int]


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG file: kind, and the begin and end of the whole chunk; the last one may be cut off."""
    place = _PNG_START
    while place + 8 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], place, end
        place = end


def has_much_metadata(data: bytes, kind: str) -> bool:
    """Whether a file has so much metadata that it should be read without.

    Args:
        kind: from :func:`pneumo_cli.data.formats.built_in`; other formats than JPEG and PNG have little.
    """
    count = size = 0
    for begin, end in _metadata(data, kind):
        count, size = count + 1, size + end - begin
        if count > _USUAL_COUNT or size > _USUAL_BYTES:
            return True
    return False


def without_metadata(data: bytes, kind: str) -> bytes:
    """The file without the metadata that the pixels do not need; the orientation stays."""
    parts, place = [], 0
    for begin, end in _metadata(data, kind):
        if begin > place:
            parts.append(data[place:begin])
        place = end
    return b"".join((*parts, data[place:]))


def _metadata(data: bytes, kind: str) -> Iterator[Span]:
    """Where metadata are in a file, in its order."""
    if kind == "PNG":
        for name, begin, end in png_chunks(data):
            if name[:1].islower() and name not in _PNG_KEPT:  # a small first letter: not critical
                yield begin, end
    elif kind == "JPEG":
        yield from _jpeg_metadata(data)


def _jpeg_metadata(data: bytes) -> Iterator[Span]:
    wanted = list(_ORIENTATIONS)
    for marker, place in _segments(data):
        first = next((one for one in wanted if data.startswith(one, place + 4)), None)
        if marker == 0xE1 and first:
            wanted.remove(first)
        # JFIF and Adobe segments (APP0, APP14) say how colours are stored.
        elif marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE):
            yield place, place + 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))


def jpeg_process(data: bytes) -> str:
    """How a JPEG is coded, where Pillow does not read it: ``12 bits per sample``, ``lossless``; else empty."""
    for marker, place in _segments(data):
        if marker == 0xF7:
            return "JPEG-LS"
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits = data[place + 4 : place + 5]
            ways = (
                *(("lossless",) if marker & 3 == 3 else ()),
                *((f"{bits[0]} bits per sample",) if bits else ()),
            )
            return ", ".join(ways)
    return ""


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker and the place of each segment of a JPEG before its first scan."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xDA:
            return
        yield marker, place
        place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
