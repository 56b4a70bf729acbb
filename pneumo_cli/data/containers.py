"""What a file's header says of how the image is stored: format, size, depth and compression. Decodes no pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, JpegImagePlugin, TiffImagePlugin

from pneumo_cli.data import decoders
from pneumo_cli.data.decoding import built_in_format, opened
from pneumo_cli.data.portable_maps import map_header
from pneumo_cli.data.sample_depth import is_deep, stated_bits

_TITLES = {"WEBP": "WebP", "PPM": "PGM"}
_BITS = {"1": 1, "F": 32, "I": 32}
_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_LUMINANCE = 3_688  # sum of the luminance table of ITU-T T.81 K.1, which libjpeg scales by quality


@dataclass(frozen=True)
class Container:
    """How an image is stored.

    Attributes:
        format: ``JPEG``, ``PNG``, or another name of a format; ``DICOM`` and others of plugins.
        width, height: in pixels, before the orientation is applied; 0 if only a plugin's decoder knows them.
        bits: of a sample, as the container stores it; 0 if unknown.
        channels: samples of a pixel; 0 if unknown.
        compression: its name, and that of colour subsampling; empty for the only one of a format.
        quality: of a JPEG, 1 to 100, as libjpeg would name its quantisation; None for other formats.
        states_depth: False for gray values in 16 bits that do not say how many bits they use, so that
            :func:`pneumo_cli.data.decoding.sample_depth` has to look at them.
    """

    format: str
    width: int = 0
    height: int = 0
    bits: int = 0
    channels: int = 0
    compression: str = ""
    quality: int | None = None
    states_depth: bool = True

    @property
    def samples(self) -> str:
        """Depth and channels in words, such as ``16-bit gray``; empty if unknown."""
        if not self.bits:
            return ""
        return f"{self.bits}-bit {'gray' if self.channels == 1 else f'in {self.channels} channels'}"


def container(data: bytes) -> Container:
    """How a file stores its image, from its header.

    Raises:
        UnreadableImage: it is empty, of a format that is not read, or its header is damaged.
    """
    spec = decoders.find(data)
    if spec is not None:
        return Container(spec.name.upper())
    kind = built_in_format(data)
    header = map_header(data) if kind == "PPM" else None
    if header is not None:
        bits = 16 if header.white > 255 else 8
        return Container(
            "PGM" if header.samples == 1 else "PPM",
            header.width,
            header.height,
            bits,
            header.samples,
            "text" if header.kind in (2, 3) else "",
            states_depth=header.samples > 1 or header.white < 2**16 - 1,
        )
    return opened(data, kind, lambda image: _of_image(image, data, kind))


def _of_image(image: Image.Image, data: bytes, kind: str) -> Container:
    deep = is_deep(image)
    bits = 16 if deep else _BITS.get(image.mode, 8)
    compression, quality = "", None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0])
        compression = str(image.info.get("compression", ""))
    elif kind == "PNG":
        bits = data[24]
    elif isinstance(image, JpegImagePlugin.JpegImageFile):
        quality = _quality(image)
        sampling = _SUBSAMPLING.get(JpegImagePlugin.get_sampling(image), "") if image.layers == 3 else ""
        progressive = "progressive" if image.info.get("progressive") else ""
        compression = " ".join(filter(None, (progressive, sampling)))
    return Container(
        _TITLES.get(kind, kind),
        *image.size,
        bits,
        len(image.getbands()),
        compression,
        quality,
        states_depth=not deep or stated_bits(image, data) is not None,
    )


def _quality(image: JpegImagePlugin.JpegImageFile) -> int | None:
    """The quality at which libjpeg would quantise luminance as this file does (``jpeg_quality_scaling``)."""
    table = image.quantization.get(0)
    if not table or len(table) != 64:
        return None
    if max(table) == 1:
        return 100
    scale = 100 * float(np.sum(table)) / _LUMINANCE
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return int(min(100, max(1, round(quality))))
