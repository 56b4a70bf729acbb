"""Files that are shorter than their header says, and properly closed, are refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.data.decoding import decode
from pneumo_cli.errors import UnreadableImage

GRAY = (np.add.outer(2 * np.arange(96), np.arange(120)) % 200 + 30).astype(np.uint8)


def encoded(kind: str, levels: np.ndarray = GRAY, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


def resized(jpeg: bytes, height: int, width: int) -> bytes:
    """A JPEG whose frame header states another size."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">2H", height, width) + jpeg[place + 4 :]


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_a_jpeg_that_was_cut_off_and_closed_is_refused(colour: bool, size: int | None) -> None:
    jpeg = encoded("JPEG", np.stack([GRAY] * 3, -1) if colour else GRAY, quality=95)
    assert np.array_equal(decode(jpeg, size), decode(jpeg[:-2] + bytes(99) + jpeg[-2:], size))
    for share in (0.4, 0.6, 0.8):
        with pytest.raises(UnreadableImage, match="a truncated JPEG"):
            decode(jpeg[: int(share * len(jpeg))] + b"\xff\xd9", size)
    for height, width in ((200, 120), (96, 240), (2000, 2000)):
        with pytest.raises(UnreadableImage, match="a truncated JPEG"):
            decode(resized(jpeg, height, width), size)


@pytest.mark.parametrize("level", [0, 60, 128, 255])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_that_ends_with_one_gray_level_is_read(level: int, options: dict[str, object]) -> None:
    levels = GRAY.copy()
    levels[40:, 40:] = level
    for picture in (levels, np.stack([levels] * 3, -1), np.full((9, 9), level, np.uint8)):
        jpeg = encoded("JPEG", picture, quality=95, **options)
        with Image.open(io.BytesIO(jpeg)) as image:
            expected = np.asarray(image.convert("L"))
        assert np.array_equal(decode(jpeg), expected)
        assert decode(jpeg, 16).shape == (16, 16)


def test_a_tiff_whose_strips_contradict_its_header_is_refused() -> None:
    deep = encoded("TIFF", GRAY.astype(np.uint16) * 16)

    def stating(tag: int, value: int) -> bytes:
        place = next(found for kind in (3, 4) if (found := deep.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
        return deep[:place] + struct.pack("<HHII", tag, 4, 1, value) + deep[place + 12 :]

    for tag, value, expected in ((258, 8, 11_520), (257, 192, 46_080), (256, 240, 46_080)):
        with pytest.raises(UnreadableImage, match=f"23,040 bytes of pixels, {expected:,} by its header"):
            decode(stating(tag, value))
    assert np.abs(decode(deep).astype(int) - GRAY).max() <= 1
