"""Variants of TIFF: read with the right gray levels, or refused with what they are."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumo_cli.data.decoding import decode
from pneumo_cli.data.tiff_tags import TiffTags
from pneumo_cli.errors import UnreadableImage

LEVELS = (np.add.outer(3 * np.arange(40), 2 * np.arange(60)) % 256).astype(np.uint8)
DEEP = LEVELS.astype(np.uint16) * 16


def tiff(
    values: np.ndarray,
    *,
    bits: int = 0,
    kind: int = 1,
    photometric: int = 1,
    samples: int = 1,
    planar: int = 1,
    compression: int = 1,
    big: bool = False,
) -> bytes:
    """An uncompressed TIFF in the byte order of the values; ``kind``: its SampleFormat; ``big``: BigTIFF."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width = values.shape[:2] if planar == 1 else values.shape[1:]
    pixels = values.tobytes()
    numbers = (width, height, bits or 8 * values.dtype.itemsize, compression, photometric, 0, samples, height)
    tags = dict(zip((256, 257, 258, 259, 262, 273, 277, 278), numbers, strict=True))
    tags |= {279: len(pixels), 284: planar, 339: kind}
    layout, head = ("HHQQ", 16) if big else ("HHII", 8)
    tags[273] = start = (
        head + (8 if big else 2) + struct.calcsize(f"={layout}") * len(tags) + (8 if big else 4)
    )
    entries = b"".join(
        struct.pack(f"{order}{layout}", tag, 16 if big else 4, 1, value) for tag, value in tags.items()
    )
    if big:
        first = struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(tags))
        data = first + entries + bytes(8)
    else:
        data = struct.pack(f"{order}HIH", 42, 8, len(tags)) + entries + bytes(4)
    data = (b"II" if order == "<" else b"MM") + data
    assert len(data) == start
    return data + pixels


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_picture_has_the_same_gray_levels_in_every_sample_format(white_is_zero: bool, order: str) -> None:
    photometric = 0 if white_is_zero else 1

    def stored(values: np.ndarray, kind: int, **options: int) -> bytes:
        return tiff(
            values.astype(values.dtype.newbyteorder(order)), kind=kind, photometric=photometric, **options
        )

    twelve = 4095 - DEEP if white_is_zero else DEEP
    eight = 255 - LEVELS if white_is_zero else LEVELS
    for data in (
        stored(eight, 1),
        stored((eight.astype(int) - 128).astype(np.int8), 2),
        stored(twelve, 1),
        stored(twelve.astype(np.int16), 2),
        stored((twelve.astype(int) - 2048).astype(np.int16), 2),
        stored((eight / 255).astype(np.float32), 3),
    ):
        assert np.abs(decode(data).astype(int) - LEVELS).max() <= 1, str(TiffTags(data))


def test_signed_values_without_a_negative_one_have_the_depth_of_the_dataset() -> None:
    dark = tiff(LEVELS.astype(np.int16), kind=2)
    assert np.array_equal(decode(dark), LEVELS)
    assert np.abs(decode(dark, bits=12) - LEVELS / 16).max() <= 1


def test_big_and_classic_tags_are_the_same() -> None:
    for data in (tiff(DEEP), tiff(DEEP, big=True), tiff(DEEP.astype(">u2"), big=True)):
        tags = TiffTags(data)
        assert (tags.first(256, 0), tags.first(258, 0), tags.values(262), tags.values(700)) == (
            60,
            16,
            (1,),
            (),
        )
    assert np.array_equal(decode(tiff(DEEP, big=True)), decode(tiff(DEEP)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(LEVELS.astype(np.float64), kind=3), "64 bits per sample, floating point, 1 sample per pixel"),
        (tiff(DEEP, bits=10), "10 bits per sample, integers"),
        (tiff(DEEP, compression=34712), "JPEG 2000"),
        (tiff(DEEP, compression=9999), "compression 9999"),
        (tiff(LEVELS.astype(np.int32), kind=2), "signed integers of 32 bits"),
        (tiff(LEVELS.astype(np.uint32)), "integers of 32 bits"),
        (tiff(np.where(LEVELS, DEEP, -3e38).astype(np.float32), kind=3), "most become 2 gray levels"),
        (tiff(np.stack([DEEP] * 3), photometric=2, samples=3, planar=2), "."),
    ],
)
def test_a_variant_that_is_not_read_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(data)
    assert "\n" not in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
def test_damaged_tags_are_no_tags(content: bytes, start: bytes) -> None:
    tags = TiffTags(start + content)
    assert isinstance(str(tags), str)
    assert all(number >= 0 for tag in (258, 262, 279) for number in tags.values(tag))
    assert len(tags.with_black_as_zero()) == len(start + content)
