"""Resizing of images and masks to a square, and their gray levels in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's conversion to gray


def resize(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize to a square, bilinear with antialiasing, whatever the aspect.

    The same as torchvision's ``Resize((size, size))`` on a Pillow image, which the report uses (SOURCE 2).

    Args:
        image: uint8 or uint16 [H, W], or [C, H, W].
        size: height and width of the result, in pixels.

    Returns:
        the same type, [size, size] or [C, size, size].
    """
    if image.ndim == 3:
        return np.stack([resize(channel, size) for channel in image])
    return resize_part(image, size, None)


def resize_part(
    image: NDArray[Any], size: int, part: tuple[float, float, float, float] | None
) -> NDArray[Any]:
    """Resize the rectangle ``part`` (left, upper, right, lower; None: all of it) of an image [H, W]."""
    if image.shape == (size, size) and part is None:
        return image
    if image.dtype == np.uint8:
        return np.asarray(_resized(image, size, part))
    values = np.rint(np.asarray(_resized(image.astype(np.float32), size, part)))
    clipped: NDArray[Any] = values.clip(0, np.iinfo(image.dtype).max).astype(image.dtype)
    return clipped


def _resized(image: NDArray[Any], size: int, part: tuple[float, float, float, float] | None) -> Image.Image:
    return Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=part)


def resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize a mask uint8 [H, W] to [size, size]; each pixel keeps one of the mask's own numbers."""
    if mask.shape == (size, size):
        return mask
    return np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))


class GrayImages:
    """The images of a dataset as gray images in 8 bits, made when they are asked for.

    Args:
        images: as of :func:`gray_in_8_bits`, of a mapped file.
    """

    ndim = 3

    def __init__(self, images: NDArray[Any]) -> None:
        self._images = images
        self.shape = (len(images), *images.shape[-2:])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """One image uint8 [S, S], or those of a slice or an array of positions [n, S, S]."""
        images = self._images[rows]
        single = images.ndim < self._images.ndim
        return gray_in_8_bits(images[None])[0] if single else gray_in_8_bits(images)


def gray_in_8_bits(images: NDArray[Any]) -> NDArray[np.uint8]:
    """One gray channel in 8 bits of images of any kind.

    Args:
        images: uint8 or uint16 [N, S, S], or [N, C, S, S]: 3 channels are red, green and blue, which become their
            luminance; others are averaged.

    Returns:
        uint8 [N, S, S]; the images themselves, if they are that.
    """
    if images.ndim == 4:
        channels = images.shape[1]
        weights = LUMINANCE if channels == 3 else np.full(channels, 1 / channels, np.float32)
        mean = np.rint(np.einsum("c,nchw->nhw", weights, images.astype(np.float32)))
        images = mean.clip(0, np.iinfo(images.dtype).max).astype(images.dtype)
    if images.dtype == np.uint16:
        images = np.rint(images / np.float32(257)).astype(np.uint8)  # 65535 is 255
    return images
