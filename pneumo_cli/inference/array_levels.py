"""Images in memory (arrays, tensors, Pillow's images) as the levels that a file with their content has."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from pneumo_cli.data.decoding import MAX_PIXELS, deep_values, upright
from pneumo_cli.data.sample_depth import largest_value, needed_bits, to_gray
from pneumo_cli.errors import UnreadableImage, UsageError, one_line

_GRAY = ("1", "L", "LA")  # modes that Pillow converts to gray levels without a detour


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor; imports no torch, since whoever has a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def array_of(image: Any) -> NDArray[Any]:
    """The values of an array, a tensor on any device, or one of Pillow's images.

    Returns:
        [H, W], or [H, W, 3] in red, green and blue; the type is the image's own.

    Raises:
        UnreadableImage: Pillow cannot load the image, or cannot convert its mode.
    """
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    if is_tensor(image):
        image = image.detach().cpu()
        image = image.float() if str(image.dtype) == "torch.bfloat16" else image  # which NumPy lacks
        return np.asarray(image.numpy())
    return np.asarray(image)


def levels_of(values: NDArray[Any], channels: int, bits: int, depth: int | None, name: str) -> NDArray[Any]:
    """An image as a model takes it, at its full size; see :func:`pneumo_cli.data.decode_levels`.

    Args:
        values: bool, uint8, uint16 or floating point [H, W], or [H, W, 3] in red, green and blue, but no uint16.
        channels, bits: of the model's images.
        depth: the bits of uint16 values; None: the smallest of 8, 10, 12, 14 and 16 that holds the largest of them.
        name: of the image, for errors.

    Returns:
        uint8 [H, W], uint16 [H, W] or uint8 [3, H, W].

    Raises:
        UsageError: values lie outside of their range, or there are too many.
        UnreadableImage: as :func:`pneumo_cli.data.sample_depth.largest_value`.
    """
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise UsageError(f"{name} has {values.shape[0]} x {values.shape[1]} pixels, more than {MAX_PIXELS:,}")
    values = _whole_numbers(values, bits, name)
    if values.dtype == np.uint16:
        largest = int(values.max())
        if depth is not None and largest >= 2**depth:
            raise UsageError(f"{name} holds the value {largest:,}, which bits={depth} excludes")
        if bits == 16:
            return values
        values = to_gray(values, 2 ** (depth or needed_bits(largest_value(values))) - 1)
    if channels == 3:
        return values.transpose(2, 0, 1).copy() if values.ndim == 3 else np.array([values] * 3)
    gray = np.asarray(Image.fromarray(values).convert("L")) if values.ndim == 3 else values
    return gray if bits == 8 else gray.astype(np.uint16) * np.uint16(257)


def _whole_numbers(values: NDArray[Any], bits: int, name: str) -> NDArray[Any]:
    """Values as uint8, or uint16 [H, W]."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind != "f":
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # or one is NaN
        raise UsageError(
            f"{name} holds floating-point values from {low:g} to {high:g}: allowed are those from 0, black, to 1, "
            "white, before any normalization"
        )
    white, kind = (65_535, np.uint16) if bits == 16 and values.ndim == 2 else (255, np.uint8)
    return np.rint(values.astype(np.float64) * white).astype(kind)


def _of_pillow(image: Image.Image) -> NDArray[Any]:
    try:
        values = deep_values(image)
        if values is None and image.mode == "I":
            raise UnreadableImage("integers of 32 bits; at most 16 can be read")
        if values is None:
            mode = "L" if image.mode in _GRAY else "F" if image.mode == "F" else "RGB"
            values = np.asarray(image.convert(mode))
    except (MemoryError, UnreadableImage):
        raise
    except Exception as error:  # of a damaged file, or of a mode without colors
        raise UnreadableImage(one_line(error)) from error
    turned = isinstance(image, TiffImagePlugin.TiffImageFile)  # when it was loaded
    return values if turned else upright(values, image)
