"""Images of every kind are resized alike, and become gray in 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pneumo_cli.data.resizing import GrayImages, gray_in_8_bits, resize, resize_mask

RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (30, 44), dtype=np.uint8)


def test_channels_are_resized_one_by_one() -> None:
    channels = np.stack([GRAY, 255 - GRAY, GRAY // 2])
    assert np.array_equal(resize(channels, 16), [resize(channel, 16) for channel in channels])


def test_16_bits_are_resized_as_8_bits_are_and_finer() -> None:
    deep = resize(GRAY.astype(np.uint16) * 257, 16)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - resize(GRAY, 16)).max() <= 1
    assert len(np.unique(deep % 257)) > 1


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60))
def test_a_resized_mask_has_only_numbers_of_the_mask(height: int, width: int, size: int) -> None:
    mask = np.random.default_rng(height).choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
    small = resize_mask(mask, size)
    assert small.shape == (size, size)
    assert set(np.unique(small)) <= set(np.unique(mask))


def test_a_mask_stays_where_the_image_is() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[16:48, 8:24] = 255
    assert np.array_equal(resize_mask(image // 255, 16) == 1, resize(image, 16) > 127)


def test_three_channels_become_the_luminance_that_pillow_has() -> None:
    colours = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L")).astype(int)
    found = gray_in_8_bits(colours.transpose(2, 0, 1)[None])[0].astype(int)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(("value", "gray"), [(0, 0), (65535, 255), (257 * 80, 80)])
def test_16_bits_become_8(value: int, gray: int) -> None:
    assert (gray_in_8_bits(np.full((1, 2, 8, 8), value, np.uint16)) == gray).all()


def test_gray_images_are_made_of_the_rows_that_are_asked_for() -> None:
    images = RNG.integers(0, 65536, (6, 2, 8, 8)).astype(np.uint16)
    gray, expected = GrayImages(images), gray_in_8_bits(images)
    assert (len(gray), gray.shape) == (6, expected.shape)
    assert np.array_equal(gray[2], expected[2])
    assert np.array_equal(gray[1:4], expected[1:4])
    assert np.array_equal(gray[np.array([5, 0])], expected[[5, 0]])
