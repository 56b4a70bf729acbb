"""Decoding of image files to gray levels; the only place that decodes.

:func:`decode` reads JPEG, PNG, TIFF, BMP, WebP, PGM and PPM, and the formats of plugins
(:mod:`pneumo_cli.data.decoders`), for datasets and for prediction. Pillow decodes, because torchvision's decoders
are deprecated. Input is not trusted: the number of pixels is checked before decoding, and every decoder error
becomes an :class:`~pneumo_cli.errors.UnreadableImage` with a short reason.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from pneumo_cli.data import decoders, formats
from pneumo_cli.data.completeness import check_jpeg, check_tiff
from pneumo_cli.data.formats import SUFFIXES as SUFFIXES
from pneumo_cli.data.metadata import has_much_metadata, jpeg_process, without_metadata
from pneumo_cli.data.portable_maps import map_header, map_values
from pneumo_cli.data.resizing import resize as resize
from pneumo_cli.data.resizing import resize_part
from pneumo_cli.data.sample_depth import (
    STORAGE,
    SampleDepth,
    depth_of,
    floats_to_gray,
    in_order,
    is_deep,
    largest_value,
    needed_bits,
    signed_to_gray,
    to_gray,
)
from pneumo_cli.data.tiff_tags import TiffTags
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.specs import DecoderSpec, load_reference

Grey = NDArray[np.uint8]

MAX_PIXELS = 100_000_000
"""More than any radiograph has (the largest detectors: about 20 million), but few enough for memory."""

_DEEP_COLOUR = 0xFF >> 2  # the highest high byte of 14 bits in 16
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_T = TypeVar("_T")


def decode(data: bytes, size: int | None = None, *, bits: int | None = None) -> Grey:
    """Decode an image file to upright gray levels.

    The format is recognised by the content. Colour becomes luminance (ITU-R BT.601, as ``Image.convert("L")``);
    transparency is ignored; the EXIF orientation is applied.

    Gray values in 16 bits are scaled from their range to 0 to 255 and rounded. The range is what the file states
    (the chunk ``sBIT`` of a PNG, ``BitsPerSample`` or ``MaxSampleValue`` of a TIFF, the highest value of a PGM),
    unless that is 15 bits or more, or too few for its values; else ``bits``; else the smallest of 8, 10, 12, 14 and
    16 bits that holds the file's largest value. In a TIFF, signed integers of which some are negative run from the
    power of two below the lowest (black) to that above the highest; floating point from 0 to 1 if all values lie
    there, else from minimum to maximum; they are inverted if the photometric interpretation is that 0 is white.

    Args:
        data: content of the file.
        size: resize to this height and width in pixels, as :func:`resize`. A large JPEG is then decoded at reduced
            size, at least twice ``size``, which is about twice as fast. The result differs from that of the full
            image by at most one gray level in 99.9 % of the pixels; the others are at sharp edges of burnt-in text.
        bits: the depth that the dataset's files have in common, for 16-bit files that do not state their own; a
            file whose values need more has its own.

    Returns:
        uint8 [H, W], or [size, size].

    Raises:
        UnreadableImage: the data are empty, truncated, damaged, of another format, of several pages or frames,
            over 100 million pixels, a TIFF of 32-bit integers, 16-bit colour that holds fewer bits, many values
            that would become few gray levels, a file that a plugin's decoder refuses, or one of a known format
            whose plugin is not installed.
    """
    spec = decoders.find(data)
    if spec is not None:
        gray = _by_plugin(data, spec, bits)
        return gray if size is None else resize(gray, size)
    kind = built_in_format(data)
    if kind == "PPM" and map_header(data) is not None:
        gray = _portable_map(data, bits)
        return gray if size is None else resize(gray, size)
    return opened(data, kind, lambda image: _gray(image, size, data, bits))


decode_image = decode
"""The same, as version 0.2 named the decoder of more formats than a dataset's."""


def sample_depth(data: bytes) -> SampleDepth | None:
    """The depth of a 16-bit container of gray values of which none is negative; None for other files.

    :func:`pneumo_cli.data.containers.container` says from the header alone which files that is worth asking of.

    Raises:
        UnreadableImage: as :func:`decode`.
    """
    spec = decoders.find(data)
    if spec is not None:
        largest = _called(spec, spec.largest_value, data, MAX_PIXELS) if spec.largest_value else None
        return None if largest is None else SampleDepth(None, int(largest))
    kind = built_in_format(data)
    if kind == "PPM":
        header = map_header(data)
        if header is None or header.white < 256 or header.samples != 1:
            return None
        largest = largest_value(_map_values(data))
        return SampleDepth(None if header.white >= STORAGE else header.white.bit_length(), largest)

    def depth(image: Image.Image) -> SampleDepth | None:
        if not is_deep(image) and image.mode != "I":
            return None
        _check_pixels(image)
        values = deep_values(image)
        return None if values is None else depth_of(image, data, values)

    return opened(data, kind, depth)


def built_in_format(data: bytes) -> str:
    """Pillow's name of the file's format.

    Raises:
        UnreadableImage: it is empty, or of a format that is not read here.
    """
    if not data:
        raise UnreadableImage("empty file")
    missing = decoders.what_is_missing(data)
    if missing:
        raise UnreadableImage(missing)
    kind = formats.built_in(data)
    if not kind:
        other = formats.unread(data)
        if other:
            what = (
                "an archive, no image: unpack it first"
                if other == "archive"
                else (f"a {other} file, which is not read: save it as PNG")
            )
            raise UnreadableImage(what)
        raise UnreadableImage(_unknown())
    return kind


def opened(data: bytes, kind: str, use: Callable[[Image.Image], _T]) -> _T:
    """Open a file with Pillow and call ``use`` with the image; its metadata never prevent that.

    Args:
        kind: from :func:`built_in_format`.

    Raises:
        UnreadableImage: whatever is wrong with the file.
    """
    if kind == "TIFF":
        data = TiffTags(data).with_black_as_zero()
    if has_much_metadata(data, kind):
        return _opened(without_metadata(data, kind), kind, use)
    try:
        return _opened(data, kind, use)
    except UnreadableImage:
        bare = without_metadata(data, kind)
        if len(bare) == len(data):
            raise
        return _opened(bare, kind, use)


def _opened(data: bytes, kind: str, use: Callable[[Image.Image], _T]) -> _T:
    # Warnings about metadata would go to stderr amid other output. Set for each image, because catch_warnings is
    # not thread-safe; a filter that exists already is not added again.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            return use(image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_variant(data, kind) or _unknown()) from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {MAX_PIXELS // 10**6} million pixels") from None
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UnreadableImage(_reason(error)) from error


def _variant(data: bytes, kind: str) -> str:
    """What kind of TIFF or JPEG Pillow does not know; empty if that does not tell."""
    if kind == "TIFF" and (stored := str(TiffTags(data))):
        return f"a TIFF that cannot be read ({stored}), or damaged: save it as PNG"
    if kind == "JPEG" and (stored := jpeg_process(data)):
        return f"a JPEG that cannot be read ({stored}), or damaged: save it as PNG"
    return ""


def _unknown() -> str:
    *others, last = (*formats.TITLES, *decoders.titles())
    return f"not a {', '.join(others)} or {last} image, or its header is damaged"


def body_part(data: bytes) -> str:
    """The body part other than the chest that a file's header names; else empty."""
    spec = decoders.find(data)
    if spec is None or not spec.body_part:
        return ""
    return str(_called(spec, spec.body_part, data))


def _by_plugin(data: bytes, spec: DecoderSpec, bits: int | None) -> Grey:
    """A plugin's decoding of a file, with its type and shape checked."""
    gray = _called(spec, spec.decode, data, MAX_PIXELS, **({"bits": bits} if spec.largest_value else {}))
    is_array = isinstance(gray, np.ndarray)
    if not is_array or gray.dtype != np.uint8 or gray.ndim != 2 or not gray.size:
        returned = f"{gray.dtype} {list(gray.shape)}" if is_array else type(gray).__name__
        raise UnreadableImage(f"{decoders.title(spec)} returned {returned}, not uint8 [H, W]")
    return np.asarray(gray)


def _called(spec: DecoderSpec, reference: str, *arguments: Any, **options: Any) -> Any:
    """What a function of a plugin's decoder returns."""
    try:
        return load_reference(reference)(*arguments, **options)
    except UnreadableImage as error:
        raise UnreadableImage(_printable(str(error))) from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise UnreadableImage(f"{decoders.title(spec)}: {_reason(error)}") from error


def _gray(image: Image.Image, size: int | None, data: bytes, bits: int | None) -> Grey:
    _check_pixels(image)
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise UnreadableImage("an animation of several frames; an image may have only one")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tiff(image, size, data, bits)
    # For colour the decoder then returns the luminance, which a JPEG stores anyway.
    draft = image.draft("L", (2 * size, 2 * size)) if size is not None else None
    values = deep_values(image)
    gray = _to_gray(image, data) if values is None else _scaled(values, image, data, bits)
    if image.format in ("JPEG", "MPO"):
        check_jpeg(data, gray, None if size is None else (2 * size, 2 * size))
    if size is not None:
        # A side that is not divisible was rounded up: the image ends within the last pixel. Ignoring that would
        # shift it by up to a third of a pixel.
        gray = resize_part(gray, size, draft[1] if draft else None)
    return upright(gray, image)


def upright(levels: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    """Levels [H, W] or [H, W, 3] of an image, turned as its EXIF orientation says."""
    turn = _TURNS.get(_orientation(image))
    return levels if turn is None else np.asarray(Image.fromarray(levels).transpose(turn))


def deep_values(image: Image.Image) -> NDArray[Any] | None:
    """The gray values [H, W] of an image of 9 to 16 bits, if none is negative; None for others. Loads the image."""
    image.load()
    if is_deep(image):
        return in_order(np.asarray(image))
    if image.mode != "I" or _first_tag(image, TiffImagePlugin.BITSPERSAMPLE) != 16:
        return None
    values = np.asarray(image)  # a TIFF of signed integers
    return in_order(values.astype(np.uint16)) if values.min() >= 0 else None


def _scaled(values: NDArray[Any], image: Image.Image, data: bytes, bits: int | None) -> Grey:
    """Gray levels of 16-bit values, by the range that the file or its dataset has."""
    return to_gray(values, 2 ** _chosen(depth_of(image, data, values), bits) - 1)


def _chosen(depth: SampleDepth, bits: int | None) -> int:
    return depth.stated or max(bits or 0, needed_bits(depth.largest))


def _portable_map(data: bytes, bits: int | None) -> Grey:
    values = _map_values(data)
    header = map_header(data)
    white = header.white if header is not None else 255
    if white >= STORAGE:  # what Pillow and others write, whatever the depth
        white = min(white, 2 ** _chosen(SampleDepth(None, largest_value(values)), bits) - 1)
    gray = to_gray(values, white)
    return gray if gray.ndim == 2 else np.asarray(Image.fromarray(gray).convert("L"))


def _map_values(data: bytes) -> NDArray[Any]:
    header = map_header(data)
    if header is None:
        raise UnreadableImage("a bitmap without gray levels")
    _check_size(header.width, header.height)
    return map_values(data, header)


def _check_pixels(image: Image.Image) -> None:
    _check_size(*image.size)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata do not make the image unreadable
        return 1


def _to_gray(image: Image.Image, data: bytes) -> Grey:
    # Palettes and CMYK (whose inversion by Adobe software Pillow has undone) have no direct conversion to gray.
    direct = image if image.mode in ("L", "1", "LA", "RGB", "RGBA") else image.convert("RGB")
    gray = np.asarray(direct.convert("L"))
    if _has_deep_colour(image, data) and gray.max() <= _DEEP_COLOUR:
        # Pillow returns the high bytes of 16-bit colour.
        raise UnreadableImage("16-bit colour that uses at most 14 of its bits: save it as gray levels")
    return gray


def _has_deep_colour(image: Image.Image, data: bytes) -> bool:
    """Whether colour, or gray with transparency, is stored in 16 bits per sample."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0] == 16)
    return image.format == "PNG" and data[24:26] in (b"\x10\2", b"\x10\4", b"\x10\6")


def _tiff(image: TiffImagePlugin.TiffImageFile, size: int | None, data: bytes, bits: int | None) -> Grey:
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
    else:
        raise UnreadableImage("several pages; a TIFF may have only one")
    check_tiff(data, *image.size)
    values = deep_values(image)  # also applies the orientation
    if values is not None:
        gray = _scaled(values, image, data, bits)
    elif image.mode == "F":
        gray = floats_to_gray(np.asarray(image))
    elif _first_tag(image, TiffImagePlugin.SAMPLEFORMAT) == 2:
        gray = signed_to_gray(np.asarray(image), _first_tag(image, TiffImagePlugin.BITSPERSAMPLE))
    elif image.mode == "I":
        raise UnreadableImage("integers of 32 bits; at most 16 can be read")
    else:
        gray = _to_gray(image, data)
    if TiffTags(data).zero_is_white:
        gray = 255 - gray
    return gray if size is None else resize(gray, size)


def _first_tag(image: Image.Image, tag: int) -> int:
    """The first value of a tag of a TIFF, 1 without it; 0 for other files."""
    return int(image.tag_v2.get(tag, (1,))[0]) if isinstance(image, TiffImagePlugin.TiffImageFile) else 0


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return _printable(text[0][:120]) if text else f"damaged ({type(error).__name__})"


def _printable(text: str) -> str:
    """One line without control characters, which a reason may quote from a file."""
    return "".join(character if character.isprintable() else " " for character in text)
