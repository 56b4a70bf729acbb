"""Portable gray maps and pixmaps, as text and as bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.data.decoding import decode
from pneumo_cli.errors import UnreadableImage


def test_text_and_bytes_give_the_same_picture() -> None:
    for data in (
        b"P2 2 2 255 0 80 160 240",
        b"P2\n# a comment\n2 #another\r2\n255\n0 80 # in between 9\n160 240\n",
        b"P5 2 2 255\n\x00\x50\xa0\xf0",
        b"P5\n2 2\n255\n\x00\x50\xa0\xf0 trailing bytes",
    ):
        assert decode(data).tolist() == [[0, 80], [160, 240]]


def test_colour_becomes_luminance() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(decode(b"P6 4 3 255\n" + colours.tobytes()), expected)
    text = b"P3 4 3 255\n" + " ".join(map(str, colours.ravel())).encode()
    assert np.array_equal(decode(text), expected)
    deep = (colours.astype(np.uint16) * 257).astype(">u2").tobytes()
    assert np.array_equal(decode(b"P6 4 3 65535\n" + deep), expected)


def test_a_bitmap_is_black_and_white() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.eye(9, dtype=bool)).save(buffer, "PPM")
    assert np.array_equal(decode(buffer.getvalue()), 255 * np.eye(9))


def test_a_large_comment_is_skipped() -> None:
    data = b"P5\n#" + b"x" * 3_000_000 + b"\n" + b"#\n" * 50_000 + b"1 1 255\n\x07"
    assert decode(data).tolist() == [[7]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P5 2 2 255\n\x00", "truncated: 1 of 4 values"),
        (b"P5 2 2 65535\n\x00\x01\x02", "truncated: 1 of 4 values"),
        (b"P5 2 2 255", "truncated: 0 of 4"),
        (b"P2 2 2 255 0 1 2", "truncated: 3 of 4"),
        (b"P2 2 2 255 0 1 2 x", "something else than numbers"),
        (b"P2 2 2 255 0 1 2 -4", "negative"),
        (b"P2 2 2 255 0 1 2 300", "a value of 300, above its stated highest value, 255"),
        (b"P5 2 1 100\n\x00\xff", "a value of 255, above"),
        (b"P5 2", "damaged header"),
        (b"P5 a b", "damaged header"),
        (b"P5 0 2 255\n", "damaged header"),
        (b"P5 2 2 70000\n" + bytes(20), "highest value 70000"),
        (b"P5 20000 20000 255\n", "more than 100 million"),
        (b"P5 1 1 255\n\x07P5 1 1 255\n\x07", "several images"),
        (b"P2 1 1 255 \xff", "something else"),
    ],
)
def test_a_damaged_map_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(data)
    assert len(str(caught.value)) < 150
