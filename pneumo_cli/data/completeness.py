"""Whether a file holds the pixels that its header claims, where its decoder does not notice that it does not.

libjpeg fills what is missing with gray if a file ends early but properly: one that was cut off and closed, or whose
header states a larger size. Pillow reads uncompressed strips wherever they begin, whatever their stated length.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data.tiff_tags import (
    BITS_PER_SAMPLE,
    COMPRESSION,
    PHOTOMETRIC,
    PLANAR_CONFIGURATION,
    SAMPLES_PER_PIXEL,
    STRIP_BYTE_COUNTS,
    TiffTags,
)
from pneumo_cli.errors import UnreadableImage

_YCBCR = 6
_END = b"\xff\xd9"
_MORE = bytes(range(255)) * 4  # coded pixels of any kind: no marker is among them, nor begins before them


def check_jpeg(data: bytes, gray: NDArray[np.uint8], draft: tuple[int, int] | None = None) -> None:
    """Refuse a JPEG whose coded pixels end before the image does.

    What libjpeg fills in is one gray level. Where the last pixels are that, more coded pixels are added at the end
    of the file: they change nothing in a complete image.

    Args:
        data: content of the file.
        gray: uint8 [H, W], its luminance as Pillow decodes it.
        draft: the size (W, H) that was asked of ``Image.draft``; None: it is of full size.

    Raises:
        UnreadableImage: pixels are missing.
    """
    corner = gray[-1, -max(1, gray.shape[1] // 8) :]
    level = int(corner[0])
    # Borders are black or white: nothing tells them from pixels that are filled in, and they do no harm.
    if (corner != level).any() or level < 4 or level > 251:
        return
    end = data.rfind(_END)
    if end < 0:
        return
    with Image.open(io.BytesIO(data[:end] + _MORE + data[end:]), formats=("JPEG",)) as image:
        if draft is not None:
            image.draft("L", draft)
        longer = np.asarray(image.convert("L"))
    if longer.shape != gray.shape or (longer != gray).any():
        raise UnreadableImage("a truncated JPEG: it ends before its last pixels")


def check_tiff(data: bytes, width: int, height: int) -> None:
    """Refuse a TIFF whose uncompressed strips are far longer or shorter than its pixels.

    Raises:
        UnreadableImage: the samples are not as its header says, or are stored in a way that is not read.
    """
    tags = TiffTags(data)
    if tags.first(COMPRESSION, 1) != 1:
        return
    bits, samples = tags.first(BITS_PER_SAMPLE, 1), tags.first(SAMPLES_PER_PIXEL, 1)
    if bits > 8 and samples > 1 and tags.first(PLANAR_CONFIGURATION, 1) == 2:
        raise UnreadableImage(f"colour of {bits} bits in separate planes: save it as gray levels")
    if tags.first(PHOTOMETRIC, 1) == _YCBCR:  # pixels share chroma
        return
    there, expected = sum(tags.values(STRIP_BYTE_COUNTS)), (width * samples * bits + 7) // 8 * height
    if there and not expected <= there < 2 * expected:
        raise UnreadableImage(f"a damaged TIFF: {there:,} bytes of pixels, {expected:,} by its header")
