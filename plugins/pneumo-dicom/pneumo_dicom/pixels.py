"""The stored pixel values of a DICOM file: transfer syntax, codec, size.

:mod:`pneumo_dicom.dicom` maps them to gray levels. Codecs written in C are protected from wrong headers: the image
size in a compressed stream has to match the header before a codec sees it, and run lengths are never unpacked
beyond the size of the image.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.data import check_jpeg
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.installation import pip_install
from pneumo_dicom.bit_fields import Stored, aligned
from pneumo_dicom.jpeg_lossless import decode_jpeg_lossless

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

INSTALL = pip_install("pydicom>=3", "pyjpegls>=1.5")
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

_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_SSIZ = (
    42  # place of the precision and sign of the first component in a JPEG 2000 codestream (ISO 15444-1 A.5.1)
)
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


def stored_values(dataset: FileDataset, syntax: UID) -> Stored:
    """Decode the pixels of the one frame.

    Args:
        dataset: of 8 or 16 bits per pixel, or 3 x 8, and of a checked size.
        syntax: from :func:`transfer_syntax`.

    Raises:
        UnreadableImage: the pixels are truncated, damaged, of another size than the header's, or no installed
            codec reads them. Damaged bytes may raise any other exception, too.
    """
    colour = int(dataset.get("SamplesPerPixel") or 1) == 3
    if syntax == _RLE:
        words, precision = _run_lengths(dataset), None
    elif not syntax.is_compressed:
        words, precision = _uncompressed(dataset, syntax), None
    else:
        frame = _frame(dataset)
        _check_frame_size(frame, dataset)
        try:
            words, precision = _by_codec(frame, dataset, syntax)
        except (UnreadableImage, MemoryError):
            raise
        except Exception as error:  # each codec raises its own
            name = _COMPRESSIONS.get(syntax, syntax.name)
            raise UnreadableImage(
                f"compressed as {name}, damaged or not supported by an installed codec"
            ) from error
    if colour:
        return Stored(words, 8)
    signed = bool(dataset.get("PixelRepresentation"))
    stored, high = bits_stored(dataset), dataset.get("HighBit")
    if signed and precision is not None:
        stored = min(stored, precision)  # the sign is the highest bit of the compressed values
    return aligned(words, stored, None if high is None else int(high), signed=signed)


def _uncompressed(dataset: FileDataset, syntax: UID) -> NDArray[Any]:
    if dataset["PixelData"].is_undefined_length:
        raise UnreadableImage("a damaged DICOM file: its pixels are compressed, against its header")
    samples = int(dataset.get("SamplesPerPixel") or 1)
    share = 2 / 3 if photometric(dataset) == "YBR_FULL_422" else 1  # two pixels share chroma
    rows, columns, allocated = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    there, expected = len(dataset.PixelData), int(rows * columns * samples * allocated // 8 * share)
    if there < expected:
        raise UnreadableImage(f"truncated: {there:,} of {expected:,} bytes of pixels")
    if there >= 2 * expected > 2:  # an image of one pixel is padded to twice its size
        raise UnreadableImage(f"a damaged DICOM file: {there:,} bytes of pixels, {expected:,} by its header")
    if samples == 3:
        from pydicom.pixels.decoders.base import get_decoder

        return get_decoder(syntax).as_array(dataset, index=0)[0]
    from pydicom.uid import ExplicitVRBigEndian

    big = syntax == ExplicitVRBigEndian
    words = np.frombuffer(dataset.PixelData, ">u2" if big else "<u2", there // 2)
    if allocated == 8:
        # Bytes in words of big-endian order are swapped (PS3.5 annex A.3) if they are OW.
        swapped = big and dataset["PixelData"].VR == "OW"
        data = words.astype("<u2").tobytes() if swapped else dataset.PixelData
        return np.frombuffer(data, np.uint8, expected).reshape(rows, columns)
    return words[: expected // 2].astype(np.uint16).reshape(rows, columns)


def _by_codec(frame: bytes, dataset: FileDataset, syntax: UID) -> tuple[NDArray[Any], int | None]:
    """The words of a compressed image, and their precision in the stream if it is gray."""
    from pydicom.pixels.decoders.base import get_decoder

    if syntax in _LOSSLESS:
        return _words(decode_jpeg_lossless(frame), dataset), _precision(frame)
    decoder = get_decoder(syntax)
    codecs = _codecs(decoder)
    if int(dataset.get("SamplesPerPixel") or 1) == 1:
        if codecs[0] == "pyjpegls":
            return _jpeg_ls(frame, dataset), _precision(frame)
        if codecs[0] == "pillow" and (_precision(frame) == 8 or syntax in _JPEG_2000):
            return _by_pillow(frame, dataset), _precision(frame)
    else:
        _correct_colours(frame, dataset, syntax)
    for codec in codecs[:-1]:
        with suppress(NotImplementedError):
            return _unsigned(decoder.as_array(dataset, index=0, decoding_plugin=codec)[0]), None
    return _unsigned(decoder.as_array(dataset, index=0, decoding_plugin=codecs[-1])[0]), None


def _correct_colours(frame: bytes, dataset: FileDataset, syntax: UID) -> None:
    """Set the colours that a header states to those of the stream, where it cannot have the stated ones."""
    stated = photometric(dataset)
    if syntax in _JPEG_2000:
        coding = frame.find(b"\xff\x52", max(0, _siz(frame)))  # ISO 15444-1 A.6.1
        if stated.startswith("YBR_FULL") and frame[coding + 8 : coding + 9] == b"\1":  # the codec gives RGB
            dataset.PhotometricInterpretation = "YBR_RCT"
    elif syntax in _JPEG and stated.startswith("YBR_"):
        dataset.PhotometricInterpretation = "YBR_FULL"


def _unsigned(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _jpeg_ls(frame: bytes, dataset: FileDataset) -> NDArray[Any]:
    import jpeg_ls

    buffer, info = jpeg_ls.decode_pixel_data(frame)
    deep = info["bits_per_sample"] > 8
    values = np.frombuffer(buffer, "<u2" if deep else np.uint8).reshape(
        int(dataset.Rows), int(dataset.Columns)
    )
    return _words(values, dataset)


def _by_pillow(frame: bytes, dataset: FileDataset) -> NDArray[Any]:
    """The words of a gray JPEG or JPEG 2000 stream."""
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
        if image.mode not in ("L", "I;16"):
            raise ValueError(f"an image of mode {image.mode}")
        values = np.asarray(image)
        if image.format == "JPEG":
            check_jpeg(frame, values)
    precision = _precision(frame)
    width = 8 * values.dtype.itemsize
    values = values >> max(0, width - precision)  # Pillow has scaled JPEG 2000 to the width
    size = _siz(frame)
    if size >= 0 and frame[size + _SSIZ] & 0x80:  # signed, which Pillow has made unsigned
        values = values ^ values.dtype.type(1 << (precision - 1))
    return _words(values, dataset)


def _words(values: NDArray[Any], dataset: FileDataset) -> NDArray[Any]:
    """Unsigned values in words that are wide enough for the header's values, too."""
    return values.astype(np.uint16) if dataset.BitsAllocated == 16 else values


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
    return values.reshape(rows, columns)


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
    start = _siz(frame)
    if start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    start = _frame_header(frame)
    if start < 0:
        return None
    height, width = struct.unpack_from(">2H", frame, start + 5)
    return height, width


def _precision(frame: bytes) -> int:
    """Bits per sample in the header of such a stream, which :func:`_codestream_size` has found."""
    start = _siz(frame)
    return (frame[start + _SSIZ] & 0x7F) + 1 if start >= 0 else frame[_frame_header(frame) + 4]


def _siz(frame: bytes) -> int:
    """Where a JPEG 2000 codestream begins, if it states a size; else -1."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # at 0, except within JP2 boxes
    return start if len(frame) > start + _SSIZ else -1


def _frame_header(frame: bytes) -> int:
    """Where the marker of the frame header of a JPEG or JPEG-LS stream is; -1 if there is none."""
    place = 2
    while frame.startswith(b"\xff\xd8") and place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            return place
        else:
            place += 2 + max(2, int.from_bytes(frame[place + 2 : place + 4], "big"))
    return -1


def photometric(dataset: FileDataset) -> str:
    """The photometric interpretation, such as ``MONOCHROME2``; empty if the file does not state it."""
    return str(dataset.get("PhotometricInterpretation") or "").strip().upper()


def bits_stored(dataset: FileDataset) -> int:
    """The number of bits of each allocated value that hold the image."""
    return int(dataset.get("BitsStored") or dataset.BitsAllocated)
