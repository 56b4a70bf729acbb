"""Decoding of image files to gray levels; the only place that decodes.

:func:`decode` reads the formats of datasets, JPEG and PNG, in every mode of radiographs; :func:`decode_image`, for
prediction, also reads TIFF and the formats of plugins (:mod:`pneumo_cli.data.decoders`). Pillow decodes, because
torchvision's decoders are deprecated. Input is not trusted: the number of pixels is checked before decoding, and
every decoder error becomes an :class:`~pneumo_cli.errors.UnreadableImage` with a short reason.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from pneumo_cli.data import decoders
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.specs import DecoderSpec, load_reference

Grey = NDArray[np.uint8]

SUFFIXES = (".jpeg", ".jpg", ".png")
"""Suffixes of a dataset's images, in lower case."""

MAX_PIXELS = 100_000_000
"""More than any radiograph has (the largest detectors: about 20 million), but few enough for memory."""

_FORMATS = ("JPEG", "PNG")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, size: int | None = None) -> Grey:
    """Decode an image file to upright gray levels.

    Colour becomes luminance (ITU-R BT.601, as ``Image.convert("L")``); transparency is ignored; 16 bits are scaled
    to 8 and rounded, not clipped; the EXIF orientation is applied.

    Args:
        data: content of a JPEG or PNG file.
        size: resize to this height and width in pixels, as :func:`resize`. A large JPEG is then decoded at reduced
            size, at least twice ``size``, which is about twice as fast. The result differs from that of the full
            image by at most one gray level in 99.9 % of the pixels; the others are at sharp edges of burnt-in text.

    Returns:
        uint8 [H, W], or [size, size].

    Raises:
        UnreadableImage: the data are empty, truncated, damaged, of another format, or over 100 million pixels.
    """
    return _decode(data, size, _FORMATS, "JPEG or PNG")


def decode_image(data: bytes, size: int | None = None) -> Grey:
    """Decode an image file for prediction: JPEG and PNG exactly as :func:`decode`, TIFF, and formats of plugins.

    The format is recognised by the content. TIFF: one page; 1 to 16 bits, scaled as in a PNG; signed integers from
    their lowest possible value (black) to their highest; floating point from 0 to 1 if all values lie there, else
    from minimum to maximum; inverted if the photometric interpretation is that 0 is white.

    Args:
        data: content of the file.
        size: resize to this height and width in pixels, as :func:`decode` does.

    Returns:
        uint8 [H, W], or [size, size].

    Raises:
        UnreadableImage: as :func:`decode`; also a TIFF of several pages or of 32-bit integers, a file that a
            plugin's decoder refuses, and one of a known format whose plugin is not installed.
    """
    spec = decoders.find(data)
    if spec is not None:
        gray = _by_plugin(data, spec)
        return gray if size is None else resize(gray, size)
    missing = decoders.what_is_missing(data)
    if missing:
        raise UnreadableImage(missing)
    *others, last = ("JPEG", "PNG", "TIFF", *decoders.titles())
    return _decode(data, size, (*_FORMATS, "TIFF"), f"{', '.join(others)} or {last}")


def body_part(data: bytes) -> str:
    """The body part other than the chest that a file's header names; else empty."""
    spec = decoders.find(data)
    if spec is None or not spec.body_part:
        return ""
    return str(load_reference(spec.body_part)(data))


def _by_plugin(data: bytes, spec: DecoderSpec) -> Grey:
    """A plugin's decoding of a file, with its type and shape checked."""
    try:
        gray = load_reference(spec.decode)(data, MAX_PIXELS)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UnreadableImage(f"decoder {spec.name}: {_reason(error)}") from error
    is_array = isinstance(gray, np.ndarray)
    if not is_array or gray.dtype != np.uint8 or gray.ndim != 2 or not gray.size:
        returned = f"{gray.dtype} {list(gray.shape)}" if is_array else type(gray).__name__
        raise UnreadableImage(f"decoder {spec.name} returned {returned}, not uint8 [H, W]")
    return np.asarray(gray)


def _decode(data: bytes, size: int | None, formats: tuple[str, ...], known: str) -> Grey:
    if not data:
        raise UnreadableImage("empty file")
    # Warnings about metadata would go to stderr amid other output. Set for each image, because catch_warnings is
    # not thread-safe; a filter that exists already is not added again.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                return _tiff(image, size)
            return _upright_gray(image, size)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(f"not a {known} image, or its header is damaged") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UnreadableImage(_reason(error)) from error


def resize(image: Grey, size: int) -> Grey:
    """Resize to a square, bilinear with antialiasing, whatever the aspect.

    The same as torchvision's ``Resize((size, size))`` on a Pillow image, which the report uses (SOURCE 2).

    Args:
        image: uint8 [H, W].
        size: height and width of the result, in pixels.

    Returns:
        uint8 [size, size].
    """
    return _resize_part(image, size, None)


def _resize_part(image: Grey, size: int, part: tuple[float, float, float, float] | None) -> Grey:
    """Resize the rectangle ``part`` (left, upper, right, lower; None: all of it)."""
    if image.shape == (size, size) and part is None:
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=part))


def _upright_gray(image: Image.Image, size: int | None) -> Grey:
    _check_pixels(image)
    # For colour the decoder then returns the luminance, which a JPEG stores anyway.
    draft = image.draft("L", (2 * size, 2 * size)) if size is not None else None
    image.load()
    gray = _to_gray(image)
    if size is not None:
        # A side that is not divisible was rounded up: the image ends within the last pixel. Ignoring that would
        # shift it by up to a third of a pixel.
        gray = _resize_part(gray, size, draft[1] if draft else None)
    turn = _TURNS.get(_orientation(image))
    return gray if turn is None else np.asarray(Image.fromarray(gray).transpose(turn))


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata do not make the image unreadable
        return 1


def _to_gray(image: Image.Image) -> Grey:
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return ((values + 128) // 257).astype(np.uint8)  # 65535 / 255 is 257
    if image.mode in ("L", "1", "LA", "RGB", "RGBA"):
        return np.asarray(image.convert("L"))
    # Palettes and CMYK (whose inversion by Adobe software Pillow has undone) have no direct conversion to gray.
    return np.asarray(image.convert("RGB").convert("L"))


def _tiff(image: TiffImagePlugin.TiffImageFile, size: int | None) -> Grey:
    _check_pixels(image)
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
    else:
        raise UnreadableImage("several pages; a TIFF may have only one")
    bits = int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
    signed = image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 2
    zero_is_white = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    image.load()  # also applies the orientation
    if image.mode == "F":
        gray = _floats(np.asarray(image))
    elif image.mode.startswith("I"):
        gray = _integers(np.asarray(image).astype(np.int64), bits, signed)
    else:
        gray, zero_is_white = _to_gray(image), False  # Pillow has inverted it
    if zero_is_white:
        gray = 255 - gray
    return gray if size is None else resize(gray, size)


def _integers(values: NDArray[np.int64], bits: int, signed: bool) -> Grey:
    if bits > 16:
        raise UnreadableImage(f"integers of {bits} bits; at most 16 can be read")
    if signed:
        values = values + 2 ** (bits - 1)
    gray: Grey = np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    return gray


def _floats(values: NDArray[np.float32]) -> Grey:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise UnreadableImage("values that are not finite")
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    shares = (values.astype(np.float64) - low) / (high - low or 1.0)
    gray: Grey = np.rint(255 * shares).astype(np.uint8)
    return gray


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:120] if text else f"damaged ({type(error).__name__})"
