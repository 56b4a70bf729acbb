"""Decoding of image files to the levels that a model was trained on: gray, 16 bits, or red, green and blue."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from pneumo_cli.data import decoders
from pneumo_cli.data.decoding import built_in_format, decode, deep_values, opened, upright
from pneumo_cli.data.portable_maps import map_header, map_values
from pneumo_cli.data.resizing import resize
from pneumo_cli.data.tiff_tags import TiffTags
from pneumo_cli.errors import UnreadableImage, UsageError


def check_decodable(channels: int, bits: int) -> None:
    """Check that image files can hold what a dataset's images are.

    Raises:
        UsageError: they cannot.
    """
    if (channels, bits) not in ((1, 8), (1, 16), (3, 8)):
        raise UsageError(
            f"its images have {channels} channels of {bits} bits, which image files cannot be decoded to: they are "
            "gray, 16-bit gray, or red, green and blue"
        )


def decode_levels(data: bytes, channels: int, bits: int, size: int | None = None) -> NDArray[Any]:
    """Decode an image file to an upright image of a dataset's channels and bits.

    Args:
        data: content of the file.
        channels, bits: 1 and 8, see :func:`~pneumo_cli.data.decoding.decode`; 1 and 16: gray values of 16 bits as
            they are stored, and of 8 bits times 257; 3 and 8: red, green and blue.
        size: resize to this height and width in pixels.

    Returns:
        uint8 [H, W], uint16 [H, W] or uint8 [3, H, W].

    Raises:
        UnreadableImage: as :func:`~pneumo_cli.data.decoding.decode`.
        UsageError: as :func:`check_decodable`.
    """
    check_decodable(channels, bits)
    if (channels, bits) == (1, 8):
        return decode(data, size)
    gray = decode(data)  # refuses what is damaged, too large, or of several pages
    levels: NDArray[Any] = _deep(data, gray) if bits == 16 else _color(data, gray)
    return levels if size is None else resize(levels, size)


def _color(data: bytes, gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    repeated = np.broadcast_to(gray, (3, *gray.shape))
    if decoders.find(data) is not None:
        return np.array(repeated)
    kind = built_in_format(data)
    if kind == "PPM" and (header := map_header(data)) is not None and header.white != 255:
        return np.array(repeated)

    def channels(image: Image.Image) -> NDArray[np.uint8]:
        image.load()
        if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
            return np.array(repeated)
        return _turned(np.asarray(image.convert("RGB")), image).transpose(2, 0, 1).copy()

    return opened(data, kind, channels)


def _deep(data: bytes, gray: NDArray[np.uint8]) -> NDArray[np.uint16]:
    if decoders.find(data) is not None:
        raise UnreadableImage("its format is decoded to 8 bits, and the model needs 16: save it as PNG")
    kind = built_in_format(data)

    def stored(image: Image.Image) -> NDArray[Any] | None:
        values = deep_values(image)
        return None if values is None else _turned(values, image)

    values: NDArray[Any] | None
    if kind == "PPM" and (header := map_header(data)) is not None:
        values = map_values(data, header)
        values = values if values.ndim == 2 and values.dtype != np.uint8 else None
    else:
        values = opened(data, kind, stored)
        if values is not None and kind == "TIFF" and TiffTags(data).zero_is_white:
            raise UnreadableImage("a TIFF of 16 bits in which 0 is white: save it as PNG")
    if values is None:
        return gray.astype(np.uint16) * np.uint16(257)
    return values.astype(np.uint16)


def _turned(levels: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    """Levels as the orientation says; those of a TIFF were turned when it was loaded."""
    return levels if isinstance(image, TiffImagePlugin.TiffImageFile) else upright(levels, image)
