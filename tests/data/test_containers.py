"""What headers say of how images are stored."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.data.containers import Container, container
from pneumo_cli.errors import UnreadableImage

GRAY = np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8)


def encoded(kind: str, mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GRAY).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded("JPEG", quality=90), Container("JPEG", 40, 30, 8, 1, "", 90)),
        (encoded("JPEG", "RGB", quality=60, subsampling=2), Container("JPEG", 40, 30, 8, 3, "4:2:0", 60)),
        (encoded("JPEG", progressive=True, quality=75), Container("JPEG", 40, 30, 8, 1, "progressive", 75)),
        (encoded("PNG"), Container("PNG", 40, 30, 8, 1)),
        (encoded("PNG", "RGBA"), Container("PNG", 40, 30, 8, 4)),
        (encoded("PNG", "1"), Container("PNG", 40, 30, 1, 1)),
        (encoded("PNG", "I;16"), Container("PNG", 40, 30, 16, 1, states_depth=False)),
        (encoded("TIFF", compression="tiff_lzw"), Container("TIFF", 40, 30, 8, 1, "tiff_lzw")),
        (encoded("TIFF", "F"), Container("TIFF", 40, 30, 32, 1, "raw")),
        (encoded("BMP"), Container("BMP", 40, 30, 8, 1)),
        (encoded("WEBP", "RGB"), Container("WebP", 40, 30, 8, 3)),
        (encoded("PPM"), Container("PGM", 40, 30, 8, 1)),
        (b"P3 2 2 255\n", Container("PPM", 2, 2, 8, 3, "text")),
    ],
)
def test_the_header_says_format_size_depth_and_compression(data: bytes, expected: Container) -> None:
    assert container(data) == expected


@pytest.mark.parametrize("quality", [25, 50, 75, 85, 90, 95, 98, 100])
def test_the_quality_of_a_jpeg_is_that_of_its_encoder(quality: int) -> None:
    found = container(encoded("JPEG", quality=quality)).quality
    assert found is not None
    assert abs(found - quality) <= 1


def test_no_pixels_are_decoded() -> None:
    whole = encoded("PNG")
    assert container(whole[: len(whole) // 2]) == container(whole)


def test_depth_and_channels_have_words() -> None:
    assert container(encoded("PNG", "I;16")).samples == "16-bit gray"
    assert container(encoded("PNG", "RGB")).samples == "8-bit in 3 channels"
    assert Container("DICOM").samples == ""


@pytest.mark.parametrize("data", [b"", b"text", encoded("GIF"), encoded("PNG")[:20]])
def test_a_file_without_a_header_that_is_read_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        container(data)
