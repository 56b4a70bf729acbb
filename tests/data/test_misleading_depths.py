"""16-bit files that state a wrong depth, or hold something beside the picture: read right, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from pneumo_cli.data.decoding import decode, sample_depth
from pneumo_cli.data.sample_depth import SampleDepth, in_order
from pneumo_cli.errors import UnreadableImage
from tests.data.deep_files import WRITERS, pgm, png, tiff

WAVES = 0.5 + 0.5 * np.sin(np.add.outer(np.arange(60) / 9, np.arange(80) / 13))
LEVELS = np.rint(255 * WAVES).astype(np.uint8)
TWELVE = np.rint(LEVELS * (4095 / 255)).astype(np.uint16)


def close(data: bytes, expected: np.ndarray = LEVELS, bits: int | None = None) -> bool:
    return int(np.abs(decode(data, bits=bits).astype(int) - expected).max()) <= 1


@pytest.mark.parametrize("significant", [1, 4, 8, 11, 15])
def test_a_png_whose_sbit_cannot_be_meant_has_the_depth_of_its_values(significant: int) -> None:
    assert close(png(TWELVE, significant=significant))
    assert sample_depth(png(TWELVE, significant=significant)) == SampleDepth(None, 4095)


@pytest.mark.parametrize("highest", [2**15 - 1, 2**16 - 2, 2**16 - 1])
def test_the_highest_value_of_the_storage_states_no_depth(highest: int) -> None:
    for data in (pgm(TWELVE, highest), tiff(TWELVE, highest=highest)):
        assert close(data)
        assert sample_depth(data) == SampleDepth(None, 4095)
        assert close(data, np.rint(LEVELS / 4), bits=14)
    full = np.rint(LEVELS * (highest / 255)).astype(np.uint16)
    assert close(pgm(full, highest))


def test_the_largest_value_of_a_tiff_as_a_statistic_states_no_depth() -> None:
    dark = tiff(TWELVE // 5, highest=819)
    assert sample_depth(dark) == SampleDepth(None, 819)
    assert close(dark, LEVELS / 5, bits=12)


@pytest.mark.parametrize("kind", WRITERS)
def test_burnt_in_text_at_the_top_of_the_storage_is_white_and_no_depth(kind: str) -> None:
    values = TWELVE.copy()
    values[:4, :20] = 65_535
    expected = LEVELS.copy()
    expected[:4, :20] = 255
    assert close(WRITERS[kind](values), expected)
    assert sample_depth(WRITERS[kind](values)) == SampleDepth(None, 4095)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("offset", [32_768, -1024, 60_000])
def test_values_that_would_become_few_gray_levels_are_refused(kind: str, offset: int) -> None:
    data = WRITERS[kind]((TWELVE.astype(int) + offset) % 2**16)
    for bits in (None, 16):
        with pytest.raises(UnreadableImage, match=r"different values from .* in 16 bits are \d+ gray levels"):
            decode(data, bits=bits)
    with pytest.raises(UnreadableImage):
        sample_depth(data)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_few_bright_values_are_no_reason_to_refuse(kind: str) -> None:
    for value in (0, 40_000, 65_535):
        assert len(np.unique(decode(WRITERS[kind](np.full((9, 9), value))))) == 1


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_values_in_the_wrong_order_of_bytes_are_put_right(bits: int, kind: str) -> None:
    values = np.rint(WAVES * (2**bits - 1)).astype(np.uint16)
    noise = np.random.default_rng(bits).integers(-(2 ** (bits - 7)), 2 ** (bits - 7), values.shape)
    for one in (values, np.clip(values + noise, 0, 2**bits - 1).astype(np.uint16), values << (16 - bits)):
        expected = decode(WRITERS[kind](one))
        assert np.array_equal(decode(WRITERS[kind](one.byteswap())), expected)


def test_the_order_of_bytes_is_kept_where_it_does_not_matter() -> None:
    eight = LEVELS.astype(np.uint16)
    random = np.random.default_rng(0).integers(0, 2**16, (50, 50)).astype(np.uint16)
    flat = (2000 + np.random.default_rng(1).normal(0, 30, (50, 50))).astype(np.uint16)
    for values in (eight, eight * 257, eight << 8, random, flat, TWELVE[:1], TWELVE[:, :1], TWELVE[:1, :1]):
        assert np.array_equal(in_order(values), values)


@pytest.mark.parametrize("white", [255, 4095])
def test_a_portable_map_with_line_ends_of_windows_is_not_shifted(white: int) -> None:
    values = TWELVE if white > 255 else LEVELS
    assert close(
        pgm(values, white)
        .replace(b"\n80 60\n", b"\r\n80 60\r\n")
        .replace(f"{white}\n".encode(), b"%d\r\n" % white)
    )


def test_a_first_sample_of_10_after_a_carriage_return_is_a_sample() -> None:
    assert decode(b"P5 2 1 255\r\n\x0b").tolist() == [[10, 11]]
