"""Files of the format are read wherever pneumo reads images, and damaged ones are said."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pneumo_gray_format.format import decode, encode

from pneumo_cli import UnreadableImage
from pneumo_cli.data import decode_image, is_image
from pneumo_cli.plugins import discover
from pneumo_cli.testing import DecoderConformance

GRADIENT = np.arange(24, dtype=np.uint8).reshape(4, 6)


class TestGray(DecoderConformance):
    name = "gray"

    @pytest.fixture
    def files(self) -> Mapping[str, bytes]:
        return {"a gradient": encode(GRADIENT)}


def test_the_program_decodes_it_by_its_content() -> None:
    discover()
    assert np.array_equal(decode_image(encode(GRADIENT)), GRADIENT)
    assert is_image("film.gray")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 255))
def test_what_was_encoded_is_decoded(height: int, width: int, level: int) -> None:
    levels = np.full((height, width), level, np.uint8)
    assert np.array_equal(decode(encode(levels), max_pixels=1600), levels)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GRAY", "header"),
        (encode(GRADIENT)[:-1], "23 of 24 gray levels"),
        (encode(GRADIENT) + b"\0", "25 of 24 gray levels"),
        (b"GRAY" + b"\0" * 8, "0 x 0 pixels"),
        (b"GRAY" + b"\xff" * 8, "4294967295 x 4294967295 pixels"),
    ],
)
def test_a_damaged_file_is_refused_before_memory_is_used(data: bytes, said: str) -> None:
    with pytest.raises(UnreadableImage, match=said):
        decode(data, max_pixels=1000)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(UnreadableImage):
        decode(b"GRAY" + data, max_pixels=100)
