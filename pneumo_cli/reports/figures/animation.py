"""Images written during training: a grid per epoch, and an animation of all grids.

Grayscale PNG files by Pillow, pixel by pixel, small and fast enough for every epoch.
:mod:`pneumo_cli.reports.figures.galleries` draws figures with text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from pneumo_cli.errors import PneumoError
from pneumo_cli.runtime import atomic

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_CELL = 96  # approximate width of an image, px
_WHITE = 255
_LONGEST = 0.5  # seconds per frame at most
_LAST = 2.0  # seconds added to the last frame


def write_grid(
    images: ArrayLike, target: Path, *, columns: int = 4, gap: int = 2, scale: int | None = None
) -> None:
    """Write images as a grid in one grayscale PNG file, atomically.

    Args:
        images: uint8 [N, H, W], N at least 1; placed row by row.
        target: the file; missing folders are created.
        columns: images per row.
        gap: white pixels between images.
        scale: integer enlargement; by default for an image width of about 96 px (3 at 32 px), at least 1.

    Raises:
        ValueError: the images are not uint8 [N, H, W] with N, H and W at least 1, or a number is too small.
        OSError: the file cannot be written.
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.size == 0:
        raise ValueError(f"write_grid takes images uint8 [N, H, W], not {pixels.dtype} {list(pixels.shape)}")
    count, height, width = pixels.shape
    scale = max(1, round(_CELL / width)) if scale is None else scale
    if columns < 1 or gap < 0 or scale < 1:
        raise ValueError(
            f"columns and scale are at least 1, the gap at least 0; not {columns}, {scale}, {gap}"
        )
    columns = min(columns, count)
    rows = -(-count // columns)
    # Pixels are repeated: the file holds the exact values, and has a third of the size of a smoothed one.
    large = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    down, across = height * scale + gap, width * scale + gap
    canvas = np.full((rows * down - gap, columns * across - gap), _WHITE, np.uint8)
    for index, image in enumerate(large):
        row, column = divmod(index, columns)
        canvas[row * down :, column * across :][: height * scale, : width * scale] = image
    with atomic.replace_file(target) as handle:
        Image.fromarray(canvas).save(handle, format="PNG")


def write_animation(frames: Iterable[Path], target: Path, *, seconds: float = 12.0, most: int = 40) -> None:
    """Write image files as an animated PNG file, atomically.

    It loops forever. Programs without support for animation show the first frame. Frames are opened one at a time;
    of each, the file holds the difference from the one before.

    Args:
        frames: image files of one size, in order.
        target: the file; missing folders are created.
        seconds: duration, at most half a second per frame; the last frame is shown two seconds longer.
        most: frames to keep, evenly spaced, with the first and the last; at least 2.

    Raises:
        PneumoError: a frame is missing, is no image, or differs in size from the first.
        ValueError: there is no frame, or ``most`` is below 2.
        OSError: the file cannot be written.
    """
    first, *others = _thinned(list(frames), most)
    each = min(seconds / (1 + len(others)), _LONGEST)
    durations = [1000 * each] * (1 + len(others))  # in milliseconds
    durations[-1] += 1000 * _LAST
    picture = _opened(first)
    with atomic.replace_file(target) as handle:
        picture.save(
            handle,
            format="PNG",
            save_all=True,
            append_images=_Frames(others, picture.size),
            duration=durations,
            loop=0,
        )


class _Frames:
    """Images that are opened in each iteration: Pillow iterates twice."""

    def __init__(self, files: Sequence[Path], size: tuple[int, int]) -> None:
        self._files = files
        self._size = size

    def __iter__(self) -> Iterator[Picture]:
        for file in self._files:
            picture = _opened(file)
            if picture.size != self._size:
                raise PneumoError(
                    f"{file} has {_pixels(picture.size)} and the first frame {_pixels(self._size)}: all frames "
                    "of an animation have one size"
                )
            yield picture


def _opened(file: Path) -> Picture:
    """An image file, in grayscale."""
    try:
        with Image.open(file) as image:
            return image.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PneumoError(f"{file} cannot be read as an image: {error}") from error


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"


def _thinned(files: list[Path], most: int) -> list[Path]:
    if not files or most < 2:
        raise ValueError(f"an animation takes at least 1 frame and keeps 2 or more, not {len(files)}, {most}")
    kept = np.linspace(0, len(files) - 1, min(len(files), most)).round().astype(int)
    return [files[index] for index in kept]
