"""Decoding of image files to 8-bit gray levels; 16-bit files are in ``test_sample_depth.py``."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import torchvision.transforms.v2.functional as TF
from PIL import Image

from pneumo_cli.data.decoding import decode, decode_image, resize
from pneumo_cli.errors import UnreadableImage


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height: int = 60, width: int = 90) -> np.ndarray:
    down, across = np.mgrid[0:height, 0:width]
    return (255 * (0.6 * down / height + 0.4 * across / width)).astype(np.uint8)


GRAY = gradient()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_png_of_every_mode_gives_the_original_gray_levels(mode: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(GRAY).convert(mode))), GRAY)


def test_a_png_of_one_bit_becomes_black_and_white() -> None:
    bits = GRAY > 100
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


def test_gray_rgb_and_cmyk_jpegs_of_one_image_agree() -> None:
    image = Image.fromarray(GRAY)
    for mode in ("L", "RGB", "CMYK"):
        levels = decode(encoded(image.convert(mode), "JPEG", quality=95)).astype(int)
        assert np.abs(levels - GRAY).max() <= 3, mode


def test_colour_becomes_luminance() -> None:
    colours = np.zeros((16, 48, 3), np.uint8)
    colours[:, :16, 0] = colours[:, 16:32, 1] = colours[:, 32:, 2] = 200
    image = Image.fromarray(colours)
    expected = np.asarray(image.convert("L")).astype(int)
    assert np.array_equal(decode(encoded(image)), expected)
    for size in (None, 16):
        levels = decode(encoded(image, "JPEG", quality=95, subsampling=0), size).astype(int)
        wanted = expected if size is None else resize(expected.astype(np.uint8), size).astype(int)
        assert np.abs(levels - wanted).max() <= 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("shape", [(1200, 1600), (1221, 1523), (2085, 2180)])
def test_a_large_jpeg_decoded_at_a_fraction_equals_the_resized_full_one(
    mode: str, shape: tuple[int, int]
) -> None:
    """Odd sides matter: the last partial pixel of a fraction must not shift the image."""
    smooth = 127 + 100 * np.sin(np.mgrid[0 : shape[0], 0 : shape[1]] / 40).prod(0)
    data = encoded(Image.fromarray(smooth.astype(np.uint8)).convert(mode), "JPEG", quality=95)
    for size in (64, 256):
        fast, whole = decode(data, size), resize(decode(data), size)
        assert fast.shape == (size, size)
        difference = np.abs(fast.astype(int) - whole)
        assert difference[:-1, :-1].max() <= 2
        assert difference.max() <= 3  # the last partial pixel is averaged with the padding of the encoder


@pytest.mark.parametrize("size", [None, 30])
def test_the_exif_orientation_is_applied(size: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    levels = decode(encoded(Image.fromarray(GRAY), "JPEG", quality=100, exif=exif), size).astype(int)
    upright = np.rot90(GRAY, -1)
    expected = upright if size is None else resize(np.ascontiguousarray(upright), size)
    assert levels.shape == expected.shape
    assert np.abs(levels - expected).max() <= 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_an_image_with_damaged_exif_is_decoded() -> None:
    data = encoded(Image.fromarray(GRAY), "JPEG", quality=100, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).shape == GRAY.shape


def test_resizing_is_as_in_the_report() -> None:
    expected = TF.resize(Image.fromarray(GRAY), [32, 32])
    assert np.array_equal(resize(GRAY, 32), np.asarray(expected))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is text, not an image", "not a JPEG, PNG, TIFF, BMP, WebP or PGM image"),
        (encoded(Image.fromarray(GRAY), "JPEG")[:700], "truncated"),
        (encoded(Image.fromarray(GRAY))[:80], "."),
        (encoded(Image.fromarray(GRAY), "GIF"), "a GIF file, which is not read: save it as PNG"),
        (b"PK\3\4" + bytes(40), "an archive, no image"),
        (encoded(Image.fromarray(GRAY))[:20], "."),
    ],
)
def test_an_incomplete_image_is_unreadable_with_a_short_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_001, 30_000])
def test_a_decompression_bomb_is_not_decoded(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(UnreadableImage, match="more than 100 million"):
        decode(head + b"\0\0\0\0IEND\xaeB`\x82")


# --- prediction: TIFF, too -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_tiff_of_every_mode_gives_the_original_gray_levels(mode: str, compression: str | None) -> None:
    data = encoded(Image.fromarray(GRAY).convert(mode), "TIFF", compression=compression)
    assert np.abs(decode_image(data).astype(int) - GRAY).max() <= (1 if mode == "CMYK" else 0)
    assert np.array_equal(decode_image(data, 32), resize(decode_image(data), 32))


def test_a_tiff_of_one_bit_becomes_black_and_white() -> None:
    bits = GRAY > 100
    data = encoded(Image.fromarray(bits), "TIFF", compression="group4")
    assert np.array_equal(decode_image(data), np.where(bits, 255, 0))


def tiff(pixels: bytes, shape: tuple[int, int], bits: int, *, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF, written tag by tag; ``tags`` are named t262 and so on."""
    entries = {256: shape[1], 257: shape[0], 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: shape[0]}
    entries |= {279: len(pixels)} | {int(name[1:]): value for name, value in tags.items()}
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    table = b"".join(struct.pack(order + "HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    return head + struct.pack(order + "H", len(entries)) + table + bytes(4) + pixels


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_16_bits_is_scaled_as_a_png(order: str) -> None:
    levels = np.array([[0, 128, 129, 257, 30_000, 65_535]], np.uint16)
    data = tiff(levels.astype(f"{order}u2").tobytes(), levels.shape, 16, order=order)
    assert np.array_equal(decode_image(data), decode_image(encoded(Image.fromarray(levels))))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_in_which_0_is_white_is_inverted(bits: int) -> None:
    stored = (255 - GRAY).astype("<u2") * 257 if bits == 16 else 255 - GRAY
    assert np.array_equal(decode_image(tiff(stored.tobytes(), GRAY.shape, bits, t262=0)), GRAY)


def test_a_tiff_of_12_bits_fills_the_range() -> None:
    packed = bytes.fromhex("000 fff 800 010".replace(" ", ""))
    assert decode_image(tiff(packed, (1, 4), 12)).tolist() == [[0, 255, 128, 1]]


def test_signed_values_run_from_black_to_white() -> None:
    values = np.array([[-32_768, 0, 32_767]], "<i2")
    assert decode_image(tiff(values.tobytes(), values.shape, 16, t339=2)).tolist() == [[0, 128, 255]]


def test_floating_point_runs_from_0_to_1_or_from_the_lowest_to_the_highest() -> None:
    for values, expected in (
        ([[0.0, 0.2, 0.5]], [[0, 51, 128]]),
        ([[-1000.0, 0.0, 3000.0]], [[0, 64, 255]]),
        ([[7.0, 7.0]], [[0, 0]]),
    ):
        image = Image.fromarray(np.array(values, np.float32))
        assert decode_image(encoded(image, "TIFF")).tolist() == expected


def test_the_orientation_of_a_tiff_is_applied() -> None:
    data = tiff(GRAY.tobytes(), GRAY.shape, 8, t274=6)
    assert np.array_equal(decode_image(data), np.rot90(GRAY, -1))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
@pytest.mark.parametrize("kind", ["BMP", "WEBP", "PPM"])
def test_other_formats_give_the_original_gray_levels_whatever_the_name(kind: str, mode: str) -> None:
    if kind == "PPM" and mode == "P":
        pytest.skip("not a mode of portable maps")
    image = Image.fromarray(GRAY).convert(mode)
    expected = np.asarray(image.convert("L"))
    data = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.abs(decode(data).astype(int) - expected).max() <= 1
    assert decode(data, 32).shape == (32, 32)
    assert decode_image is decode


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_is_applied_in_every_format(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(kind, {})
    levels = decode(encoded(Image.fromarray(GRAY), kind, exif=exif, **options)).astype(int)
    assert np.abs(levels - np.rot90(GRAY, -1)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_frames_or_pages_are_refused(kind: str) -> None:
    other = Image.fromarray(255 - GRAY)
    data = encoded(Image.fromarray(GRAY), kind, save_all=True, append_images=[other])
    with pytest.raises(UnreadableImage, match=r"several (frames|pages)"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (
            encoded(Image.fromarray(GRAY), "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]),
            "pages",
        ),
        (encoded(Image.fromarray(GRAY), "TIFF")[:900], "."),
        (encoded(Image.fromarray(GRAY), "TIFF", compression="tiff_lzw")[:-400], "."),
        (encoded(Image.fromarray(np.array([[np.nan, 1.0]], np.float32)), "TIFF"), "not finite"),
        (encoded(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), "32 bits"),
        (tiff(b"", (20_000, 20_000), 8), "more than 100 million"),
        (tiff(b"", (2**31, 2**31), 8), "."),
    ],
)
def test_an_unreadable_tiff_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_damaged_tiffs_give_an_image_or_a_reason_and_no_warnings(
    compression: str | None, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    whole = np.frombuffer(encoded(Image.fromarray(GRAY), "TIFF", compression=compression), np.uint8)
    random = np.random.default_rng(3)
    for _ in range(50):
        damaged = whole.copy()
        damaged[random.integers(8, len(whole), 8)] = random.integers(0, 256, 8)
        # The directory is at the end or at the beginning: damage it, too.
        damaged[random.integers(8, 200, 2)] = random.integers(0, 256, 2)
        damaged[-random.integers(1, 200, 2)] = random.integers(0, 256, 2)
        with contextlib.suppress(UnreadableImage):
            assert decode_image(damaged.tobytes()).dtype == np.uint8
    if compression is None:  # libtiff itself reports damaged data on stderr
        assert capfd.readouterr() == ("", "")
    assert not recwarn.list
