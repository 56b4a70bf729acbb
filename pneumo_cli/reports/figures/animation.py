"""Pictures of a run under way, written while it trains: a grid of images per epoch, and all grids as an animation.

Plain PNG files by Pillow, grey and pixel by pixel, small and quick enough for every epoch. Not for figures with
words in them: those are drawn by :mod:`pneumo_cli.reports.figures.galleries`.
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

_CELL = 96  # px that an image is to be wide on a screen, about
_WHITE = 255
_LONGEST = 0.5  # seconds of one frame of few
_LAST = 2.0  # seconds for which the last frame is held


def write_grid(
    images: ArrayLike, target: Path, *, columns: int = 4, gap: int = 2, scale: int | None = None
) -> None:
    """Write images beside and below one another as one grey PNG file, whole or not at all.

    Args:
        images: uint8 [N, H, W], N at least 1; read row by row.
        target: the file; missing folders are made.
        columns: images per row.
        gap: white pixels between two images.
        scale: how many pixels wide and high a pixel becomes; by default so many that an image is about 96 wide
            (3 at 32 px), and at least 1.

    Raises:
        ValueError: the images are not uint8 [N, H, W] with N, H and W at least 1, or a number is too small.
        OSError: the file cannot be written.
    """
    levels = np.asarray(images)
    if levels.dtype != np.uint8 or levels.ndim != 3 or levels.size == 0:
        raise ValueError(f"write_grid takes images uint8 [N, H, W], not {levels.dtype} {list(levels.shape)}")
    count, height, width = levels.shape
    scale = max(1, round(_CELL / width)) if scale is None else scale
    if columns < 1 or gap < 0 or scale < 1:
        raise ValueError(
            f"columns and scale are at least 1, the gap at least 0; not {columns}, {scale}, {gap}"
        )
    columns = min(columns, count)
    rows = -(-count // columns)
    # Whole pixels are repeated: the file holds exactly what was drawn, and is a third as large as a smoothed one.
    large = levels.repeat(scale, axis=1).repeat(scale, axis=2)
    down, across = height * scale + gap, width * scale + gap
    canvas = np.full((rows * down - gap, columns * across - gap), _WHITE, np.uint8)
    for index, image in enumerate(large):
        row, column = divmod(index, columns)
        canvas[row * down :, column * across :][: height * scale, : width * scale] = image
    with atomic.replace_file(target) as handle:
        Image.fromarray(canvas).save(handle, format="PNG")


def write_animation(frames: Iterable[Path], target: Path, *, seconds: float = 12.0, most: int = 120) -> None:
    """Write picture files one after another as an animated PNG file, whole or not at all.

    It repeats without end. Programs that know no animation show the first frame. Frames are opened one at a time;
    what is kept of each is what changed since the one before.

    Args:
        frames: image files of one size, first to last.
        target: the file; missing folders are made.
        seconds: how long all frames but the last take together; less where they are few, at half a second each.
            The last is held two seconds longer.
        most: frames that are kept, evenly spread over all, the first and the last among them; at least 2.

    Raises:
        PneumoError: a frame is missing, is no image, or has another size than the first.
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
    """Pictures that are opened when they are asked for, as often as they are: Pillow goes over them twice."""

    def __init__(self, files: Sequence[Path], size: tuple[int, int]) -> None:
        self._files = files
        self._size = size

    def __iter__(self) -> Iterator[Picture]:
        for file in self._files:
            picture = _opened(file)
            if picture.size != self._size:
                raise PneumoError(
                    f"{file} has {_pixels(picture.size)} and the first frame {_pixels(self._size)}: an animation "
                    "takes pictures of one size"
                )
            yield picture


def _opened(file: Path) -> Picture:
    """A picture file, in grey."""
    try:
        with Image.open(file) as image:
            return image.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PneumoError(f"{file} cannot be read as a picture: {error}") from error


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"


def _thinned(files: list[Path], most: int) -> list[Path]:
    if not files or most < 2:
        raise ValueError(f"an animation takes at least 1 frame and keeps 2 or more, not {len(files)}, {most}")
    kept = np.linspace(0, len(files) - 1, min(len(files), most)).round().astype(int)
    return [files[index] for index in kept]
