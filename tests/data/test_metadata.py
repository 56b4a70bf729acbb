"""Metadata of any size, damaged or not, never keep an image from being read, and never change it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from pneumo_cli.data.decoding import decode
from pneumo_cli.data.metadata import has_much_metadata, without_metadata

GRAY = np.add.outer(np.arange(60), 2 * np.arange(80)).astype(np.uint8)


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes, check: int | None = None) -> bytes:
    check = zlib.crc32(kind + content) if check is None else check
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


PNG, JPEG = encoded("PNG"), encoded("JPEG", quality=95)
HEAD = 8 + 25  # bytes of a PNG before its second chunk
BOMB = zlib.compress(bytes(20_000_000))


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"Comment\0\0" + BOMB),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
        chunk(b"iCCP", b"profile\0\0" + BOMB),
        chunk(b"tEXt", b"Comment\0" + b"x" * 30_000_000),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000) * 40,
        chunk(b"tEXt", b"a\0b") * 30_000,
        chunk(b"prVt", bytes(5_000_000)),
        chunk(b"zTXt", b"no end of the keyword"),
        chunk(b"tEXt", b"wrong sum", 7),
        chunk(b"gAMA", b"\0"),
        chunk(b"pHYs", b"\0"),
    ],
    ids=["zTXt", "iTXt", "iCCP", "tEXt", "sum", "many", "private", "damaged", "checksum", "gAMA", "pHYs"],
)
def test_text_and_other_chunks_of_a_png_do_not_matter(added: bytes, at_end: bool) -> None:
    place = len(PNG) - 12 if at_end else HEAD
    assert np.array_equal(decode(PNG[:place] + added + PNG[place:]), GRAY)


@pytest.mark.parametrize(
    "added",
    [
        segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 60,
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(60_000)) * 300,
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
        segment(0xFE, b"a comment") * 50_000,
        segment(0xE5, b"") * 100_000,
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
        segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    ],
    ids=["Exif", "no profile", "profiles", "Photoshop", "comments", "empty", "damaged Exif", "damaged MPF"],
)
def test_segments_of_a_jpeg_do_not_matter(added: bytes) -> None:
    place = 20  # behind JFIF
    for size in (None, 16):
        assert np.array_equal(decode(JPEG[:place] + added + JPEG[place:], size), decode(JPEG, size))


def test_the_orientation_and_the_colours_stay_if_much_is_left_out() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded("JPEG", quality=95, exif=exif)
    large = data[:20] + segment(0xE4, bytes(60_000)) * 30 + data[20:]
    assert has_much_metadata(large, "JPEG")
    assert not has_much_metadata(data, "JPEG")
    assert np.array_equal(decode(large), decode(data))
    buffer = io.BytesIO()
    Image.fromarray(GRAY).convert("CMYK").save(buffer, "JPEG")  # inverted, which its Adobe segment says
    cmyk = buffer.getvalue()
    assert np.array_equal(decode(without_metadata(cmyk, "JPEG")), decode(cmyk))
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 2_000_000)
    assert np.array_equal(decode(encoded("PNG", exif=exif, pnginfo=info)), GRAY[::-1, ::-1])


def test_a_file_without_metadata_is_the_same() -> None:
    for data, kind in ((PNG, "PNG"), (JPEG, "JPEG"), (encoded("TIFF"), "TIFF"), (encoded("WEBP"), "WEBP")):
        assert without_metadata(data, kind) == data
        assert without_metadata(data[:50], kind) == data[:50]


def test_a_large_tag_of_a_tiff_does_not_matter() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50_000] = bytes(30_000_000)
    tags.tagtype[50_000] = 7
    assert np.array_equal(decode(encoded("TIFF", tiffinfo=tags)), GRAY)


def test_tags_that_overlap_need_no_more_memory_than_the_file() -> None:
    """A thousand tags that all claim the whole file."""
    data = encoded("TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    own = [data[start + 2 + 12 * n :][:12] for n in range(count)]
    claims = [struct.pack("<HHII", 50_000 + n, 7, 10_000_000, 8) for n in range(1000)]
    directory = struct.pack("<H", count + 1000) + b"".join((*own, *claims)) + bytes(4)
    padded = data + bytes(10_000_000)
    claimed = padded[:4] + struct.pack("<I", len(padded)) + padded[8:] + directory
    assert np.array_equal(decode(claimed), GRAY)
