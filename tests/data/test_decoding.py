import io
import struct
import zlib

import numpy as np
import pytest
import torchvision.transforms.v2.functional as TF
from PIL import Image

from pneumo_cli.data.decoding import decode, resize
from pneumo_cli.errors import UnreadableImage


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height: int = 60, width: int = 90) -> np.ndarray:
    down, across = np.mgrid[0:height, 0:width]
    return (255 * (0.6 * down / height + 0.4 * across / width)).astype(np.uint8)


GREY = gradient()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_png_of_every_mode_gives_the_grey_levels_that_went_in(mode: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(GREY).convert(mode))), GREY)


def test_a_png_of_one_bit_becomes_black_and_white() -> None:
    bits = GREY > 100
    assert np.array_equal(decode(encoded(Image.fromarray(bits))), np.where(bits, 255, 0))


def test_sixteen_bits_are_scaled_and_rounded_not_clipped() -> None:
    levels = np.array([[0, 128, 129, 257, 384, 386, 30_000, 65_534, 65_535]], np.uint16)
    expected = np.rint(levels / 257).astype(np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(levels))), expected)
    assert expected.max() == 255


def test_sixteen_bits_are_read_in_the_byte_order_of_png() -> None:
    # Written byte by byte, so that nothing but the decoder interprets the order: big endian by the standard.
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HH", 257, 65_535))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert decode(data).tolist() == [[1, 255]]


def test_grey_jpeg_rgb_jpeg_and_cmyk_jpeg_of_one_picture_agree() -> None:
    picture = Image.fromarray(GREY)
    for mode in ("L", "RGB", "CMYK"):
        levels = decode(encoded(picture.convert(mode), "JPEG", quality=95)).astype(int)
        assert np.abs(levels - GREY).max() <= 3, mode


def test_colour_becomes_luminance() -> None:
    colours = np.zeros((16, 48, 3), np.uint8)
    colours[:, :16, 0] = colours[:, 16:32, 1] = colours[:, 32:, 2] = 200
    picture = Image.fromarray(colours)
    expected = np.asarray(picture.convert("L")).astype(int)
    assert np.array_equal(decode(encoded(picture)), expected)
    for size in (None, 16):
        levels = decode(encoded(picture, "JPEG", quality=95, subsampling=0), size).astype(int)
        wanted = expected if size is None else resize(expected.astype(np.uint8), size).astype(int)
        assert np.abs(levels - wanted).max() <= 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("shape", [(1200, 1600), (1221, 1523), (2085, 2180)])
def test_a_large_jpeg_decoded_at_a_fraction_equals_the_whole_one_resized(
    mode: str, shape: tuple[int, int]
) -> None:
    """Odd sides matter: the last partial pixel of a fraction must not shift the picture."""
    smooth = 127 + 100 * np.sin(np.mgrid[0 : shape[0], 0 : shape[1]] / 40).prod(0)
    data = encoded(Image.fromarray(smooth.astype(np.uint8)).convert(mode), "JPEG", quality=95)
    for size in (64, 256):
        fast, whole = decode(data, size), resize(decode(data), size)
        assert fast.shape == (size, size)
        difference = np.abs(fast.astype(int) - whole)
        assert difference[:-1, :-1].max() <= 2
        assert difference.max() <= 3  # the last partial pixel is averaged with what the encoder put beyond


@pytest.mark.parametrize("size", [None, 30])
def test_the_exif_orientation_is_applied(size: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    levels = decode(encoded(Image.fromarray(GREY), "JPEG", quality=100, exif=exif), size).astype(int)
    upright = np.rot90(GREY, -1)
    expected = upright if size is None else resize(np.ascontiguousarray(upright), size)
    assert levels.shape == expected.shape
    assert np.abs(levels - expected).max() <= 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_hide_the_picture() -> None:
    data = encoded(Image.fromarray(GREY), "JPEG", quality=100, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).shape == GREY.shape


def test_resizing_is_that_of_the_report() -> None:
    expected = TF.resize(Image.fromarray(GREY), [32, 32])
    assert np.array_equal(resize(GREY, 32), np.asarray(expected))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is text, not an image", "not a JPEG or PNG"),
        (encoded(Image.fromarray(GREY), "JPEG")[:700], "truncated"),
        (encoded(Image.fromarray(GREY))[:80], "."),
        (encoded(Image.fromarray(GREY), "GIF"), "not a JPEG or PNG"),
        (encoded(Image.fromarray(GREY))[:20], "."),
    ],
)
def test_what_is_no_whole_image_is_unreadable_with_a_short_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_001, 30_000])
def test_an_image_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(UnreadableImage, match="more than 100 million"):
        decode(head + b"\0\0\0\0IEND\xaeB`\x82")
