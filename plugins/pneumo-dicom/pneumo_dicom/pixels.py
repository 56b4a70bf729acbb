"""The stored pixel values of a DICOM file: transfer syntax, codec, size.

:mod:`pneumo_dicom.dicom` maps them to gray levels. Codecs written in C are protected from wrong headers: the image
size in a compressed stream has to match the header before a codec sees it, and run lengths are never unpacked
beyond the size of the image.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.errors import UnreadableImage
from pneumo_dicom.jpeg_lossless import decode_jpeg_lossless

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

INSTALL = "pip install 'pydicom>=3' 'pyjpegls>=1.5'"
"""How to install this distribution's dependencies, for an error message."""

_RLE = "1.2.840.10008.1.2.5"
_COMPRESSIONS = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
"""Compressed transfer syntaxes for which this distribution or its dependencies have a codec."""

_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")

_CODECS = ("pillow", "pyjpegls", "pylibjpeg")
"""Which of pydicom's codecs are used, in this order.

Pillow first, so that DICOM and other files of the same compression agree; pylibjpeg, which is not installed with
this distribution, for JPEG Extended of 12 bits. Not GDCM: damaged data make it end the process.
"""


def transfer_syntax(dataset: FileDataset) -> UID:
    """The transfer syntax of the pixels.

    Raises:
        UnreadableImage: the file does not state it, or no codec for it is installed.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    stated = dataset.file_meta.get("TransferSyntaxUID")
    if not stated:
        if dataset["PixelData"].is_undefined_length:
            raise UnreadableImage("a DICOM file that does not state how its pixels are compressed")
        implicit, little = dataset.original_encoding
        if implicit:
            return ImplicitVRLittleEndian
        return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    syntax = UID(str(stated))
    if syntax == _RLE or syntax in _LOSSLESS or (syntax.is_transfer_syntax and not syntax.is_compressed):
        return syntax
    name = _COMPRESSIONS.get(syntax)
    try:
        if _codecs(get_decoder(syntax)):
            return syntax
    except (NotImplementedError, ValueError):
        pass
    if name:
        raise UnreadableImage(f"compressed as {name}, which needs: {INSTALL}")
    raise UnreadableImage(f"compressed as {syntax.name[:60]}, which cannot be read: save it uncompressed")


def stored_values(dataset: FileDataset, syntax: UID) -> NDArray[Any]:
    """Decode the pixels of the one frame.

    Args:
        dataset: of 8 or 16 bits per pixel, or 3 x 8, and of a checked size.
        syntax: from :func:`transfer_syntax`.

    Returns:
        uint8, int8, uint16 or int16 [H, W], or RGB uint8 [H, W, 3].

    Raises:
        UnreadableImage: the pixels are truncated, damaged, of another size than the header's, or no installed
            codec reads them. Damaged bytes may raise any other exception, too.
    """
    if syntax == _RLE:
        return _run_lengths(dataset)
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(syntax)
    if not syntax.is_compressed:
        if dataset["PixelData"].is_undefined_length:
            raise UnreadableImage("a damaged DICOM file: its pixels are compressed, against its header")
        # Checked here because pydicom's message has several lines.
        samples = int(dataset.get("SamplesPerPixel") or 1)
        share = 2 / 3 if photometric(dataset) == "YBR_FULL_422" else 1  # two pixels share chroma
        expected = int(dataset.Rows * dataset.Columns * samples * dataset.BitsAllocated // 8 * share)
        if len(dataset.PixelData) < expected:
            raise UnreadableImage(f"truncated: {len(dataset.PixelData):,} of {expected:,} bytes of pixels")
        return decoder.as_array(dataset, index=0)[0]
    frame = _frame(dataset)
    _check_frame_size(frame, dataset)
    try:
        if syntax in _LOSSLESS:
            return _as_declared(decode_jpeg_lossless(frame), dataset)
        codecs = _codecs(decoder)
        for codec in codecs[:-1]:
            with suppress(NotImplementedError):
                return decoder.as_array(dataset, index=0, decoding_plugin=codec)[0]
        return decoder.as_array(dataset, index=0, decoding_plugin=codecs[-1])[0]
    except MemoryError:
        raise
    except Exception as error:  # each codec raises its own
        name = _COMPRESSIONS.get(syntax, syntax.name)
        raise UnreadableImage(
            f"compressed as {name}, damaged or not supported by an installed codec"
        ) from error


def _codecs(decoder: Decoder) -> list[str]:
    return [name for name in _CODECS if name in decoder.available_plugins]


def _frame(dataset: FileDataset) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _run_lengths(dataset: FileDataset) -> NDArray[Any]:
    """Decode RLE (PS3.5 annex G): one PackBits segment per byte of a pixel, the highest first.

    Pillow unpacks them: a hundred times faster than pydicom, and never beyond the image.
    """
    frame = _frame(dataset)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples, size = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated) // 8
    count, *starts = struct.unpack("<16L", frame[:64])
    if count != samples * size:
        raise UnreadableImage(f"damaged: {count} run-length segments instead of {samples * size}")
    ends = [*starts[1:count], len(frame)]
    planes = [
        np.asarray(Image.frombytes("L", (rows * columns, 1), frame[start:end], "packbits", "L"))
        for start, end in zip(starts, ends, strict=False)
    ]
    if samples == 3:
        if photometric(dataset).startswith("YBR"):
            planes = [planes[0]] * 3  # colour becomes luminance anyway
        return np.stack(planes, axis=-1).reshape(rows, columns, 3)
    values = planes[0] if size == 1 else planes[0].astype(np.uint16) << 8 | planes[1]
    return _as_declared(values.reshape(rows, columns), dataset)


def _as_declared(values: NDArray[Any], dataset: FileDataset) -> NDArray[Any]:
    """Unsigned values as the header declares them: only the stored bits, with a sign or without."""
    size, bits = int(dataset.BitsAllocated) // 8, bits_stored(dataset)
    values = values.astype(f"u{size}")
    if not dataset.get("PixelRepresentation"):
        return values & ((1 << bits) - 1)
    spare = 8 * size - bits
    return (values << spare).view(f"i{size}") >> spare  # the highest stored bit is the sign


def _check_frame_size(frame: bytes, dataset: FileDataset) -> None:
    """Refuse a compressed image of another size than the header's: codecs allocate the size in the stream."""
    size = _codestream_size(frame)
    if size is None:
        raise UnreadableImage("a DICOM file whose compressed image is damaged")
    if size != (dataset.Rows, dataset.Columns):
        raise UnreadableImage(
            f"a damaged DICOM file: {dataset.Columns} x {dataset.Rows} pixels in its header, "
            f"{size[1]} x {size[0]} in its image"
        )


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None if there are none."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # at 0, except within JP2 boxes
    if start >= 0:
        if len(frame) < start + 24:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    place = 2
    while frame.startswith(b"\xff\xd8") and place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            height, width = struct.unpack_from(">2H", frame, place + 5)
            return height, width
        else:
            place += 2 + max(2, int.from_bytes(frame[place + 2 : place + 4], "big"))
    return None


def photometric(dataset: FileDataset) -> str:
    """The photometric interpretation, such as ``MONOCHROME2``; empty if the file does not state it."""
    return str(dataset.get("PhotometricInterpretation") or "").strip().upper()


def bits_stored(dataset: FileDataset) -> int:
    """The number of bits of each allocated value that hold the image."""
    return int(dataset.get("BitsStored") or dataset.BitsAllocated)
