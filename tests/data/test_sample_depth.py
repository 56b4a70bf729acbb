"""16-bit containers of 8 to 16 bits: the gray levels are those of the values, whatever the container states."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pneumo_cli.data.containers import container
from pneumo_cli.data.decoding import decode, sample_depth
from pneumo_cli.data.sample_depth import SampleDepth, needed_bits, scaling_text
from pneumo_cli.errors import UnreadableImage
from tests.data.deep_files import WRITERS, pgm, png, tiff

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
TWELVE = RAMP * 16  # 0 to 4,080


@pytest.mark.parametrize("kind", WRITERS)
def test_12_bits_fill_the_gray_levels_in_every_container(kind: str) -> None:
    levels = decode(WRITERS[kind](TWELVE))
    assert np.array_equal(levels, np.rint(TWELVE * 255.0 / 4095))
    assert (levels.min(), levels.max(), len(np.unique(levels))) == (0, 254, 255)


@settings(max_examples=60, deadline=None)
@given(bits=st.sampled_from([8, 10, 12, 14, 16]), seed=st.integers(0, 2**32 - 1), given_bits=st.booleans())
def test_a_picture_has_the_same_gray_levels_in_every_container(
    bits: int, seed: int, given_bits: bool
) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, (5, 7)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    expected = np.rint(values * 255.0 / (2**bits - 1))
    stored = [write(values) for write in WRITERS.values()]
    if bits < 16:
        stored += [png(values, significant=bits), tiff(values, highest=2**bits - 1), pgm(values, 2**bits - 1)]
    for data in stored:
        assert np.array_equal(decode(data, bits=bits if given_bits else None), expected)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_depth_of_the_dataset_counts_unless_a_file_needs_more(kind: str) -> None:
    dark = WRITERS[kind](RAMP)
    assert np.array_equal(decode(dark), RAMP)
    assert np.array_equal(decode(dark, bits=12), np.rint(RAMP * 255.0 / 4095))
    assert np.array_equal(decode(WRITERS[kind](TWELVE), bits=8), decode(WRITERS[kind](TWELVE)))


def test_what_a_file_states_counts_more_than_what_the_dataset_has() -> None:
    for data in (png(RAMP, significant=10), tiff(RAMP, highest=1000), pgm(RAMP, 1023)):
        assert np.array_equal(decode(data, bits=14), np.rint(RAMP * 255.0 / 1023))


def test_a_png_whose_values_are_scaled_to_the_whole_range_as_its_standard_says_keeps_them() -> None:
    scaled = (TWELVE << 4 | TWELVE >> 8).astype(np.uint16)
    assert np.array_equal(decode(png(scaled, significant=12), bits=12), np.rint(scaled / 257))


def test_a_statement_that_the_values_exceed_is_not_believed() -> None:
    assert np.array_equal(decode(tiff(TWELVE, highest=255)), decode(tiff(TWELVE)))


def test_white_is_zero_inverts_within_the_range_of_the_values() -> None:
    inverted = decode(tiff(4095 - TWELVE, zero_is_white=True)).astype(int)
    assert np.abs(inverted - decode(tiff(TWELVE))).max() <= 1


def test_the_white_value_of_a_portable_map_need_not_be_a_number_of_bits() -> None:
    values = np.array([[0, 250, 500, 1000]], np.uint16)
    assert decode(pgm(values, 1000)).tolist() == [[0, 64, 128, 255]]
    assert decode(pgm(np.array([[0, 50, 100]]), 100)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_16_bit_colour_is_read_if_it_uses_its_bits_and_refused_if_not(colour: int) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colour]
    full = np.repeat((RAMP * 257)[..., None], channels, axis=2)
    assert np.array_equal(decode(png(full, colour=colour)), RAMP)
    twelve = np.repeat(TWELVE[..., None], channels, axis=2)
    with pytest.raises(UnreadableImage, match="16-bit colour that uses at most 14 of its bits"):
        decode(png(twelve, colour=colour))


def test_the_depth_of_a_file_is_told() -> None:
    for data in (png(TWELVE), tiff(TWELVE), pgm(TWELVE)):
        assert sample_depth(data) == SampleDepth(None, 4080)
        assert not container(data).states_depth
    for data in (png(TWELVE, significant=12), tiff(TWELVE, highest=4000), pgm(TWELVE, 4095)):
        assert sample_depth(data) == SampleDepth(12, 4080)
        assert container(data).states_depth
    eight = io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint8)).save(eight, "PNG")
    assert sample_depth(eight.getvalue()) is None
    assert container(eight.getvalue()).states_depth
    assert [needed_bits(value) for value in (0, 255, 256, 1023, 4095, 4096, 65_535)] == [
        8,
        8,
        10,
        10,
        12,
        14,
        16,
    ]
    assert scaling_text(12, 4080) == "16-bit files scaled as 12 bits (largest value 4,080)"
