"""DICOM files with an image, in every way that devices store them, and their compressed pixels."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)


def chest(height: int = 61, width: int = 80) -> np.ndarray:
    """Similar to a chest: bright outside of two dark ovals, all gray levels from 0 to 255."""
    down, across = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    lungs = sum(np.exp(-(((across - x) / 0.15) ** 2) - ((down - 0.5) / 0.3) ** 2) for x in (0.3, 0.7))
    levels = 0.6 + 0.4 * down - 0.6 * lungs + 0.05 * np.sin(40 * down)
    return np.rint(255 * (levels - levels.min()) / np.ptp(levels)).astype(np.uint8)


IMAGE = chest()


def jpeg(levels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def jpeg_2000(levels: np.ndarray, *, lossy: bool = False) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality_mode": "dB", "quality_layers": [55]} if lossy else {}
    options["mct"] = levels.ndim == 3  # as YBR_RCT says
    Image.fromarray(levels).save(buffer, "JPEG2000", no_jp2=True, irreversible=lossy, **options)
    return buffer.getvalue()


def jpeg_lossless(levels: np.ndarray, bits: int, *, predictor: int = 1, strip: int = 0) -> bytes:
    """JPEG Lossless (ITU-T T.81 annex H), with equally long codes; ``strip``: rows between restarts."""
    height, width = levels.shape
    head = b"\xff\xd8" + b"\xff\xc3" + struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0)
    counts = bytes(17 if length == 5 else 0 for length in range(1, 17))  # 17 codes of five bits
    head += b"\xff\xc4" + struct.pack(">HB", 19 + 17, 0) + counts + bytes(range(17))
    if strip:
        head += b"\xff\xdd" + struct.pack(">HH", 4, strip * width)
    head += b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, predictor, 0, 0)
    strips = [levels[top : top + strip] for top in range(0, height, strip)] if strip else [levels]
    packed = [_entropy_coded(one.astype(int), bits, predictor) for one in strips]
    scan = packed[0] + b"".join(bytes([0xFF, 0xD0 + n % 8]) + one for n, one in enumerate(packed[1:]))
    return head + scan + b"\xff\xd9"


def _entropy_coded(values: np.ndarray, bits: int, predictor: int) -> bytes:
    predicted = np.empty_like(values)
    if predictor == 1:
        predicted[:, 1:], predicted[1:, 0] = values[:, :-1], values[:-1, 0]
    else:
        predicted[1:], predicted[0, 1:] = values[:-1], values[0, :-1]
    predicted[0, 0] = 2 ** (bits - 1)
    codes = []
    for difference in ((values - predicted + 32_767) % 65_536 - 32_767).ravel():
        category = int(abs(difference)).bit_length()
        code = difference if difference > 0 else difference + 2**category - 1
        codes.append(f"{category:05b}" + (f"{code:0{category}b}" if 0 < category < 16 else ""))
    text = "".join(codes)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")


def dicom(
    levels: np.ndarray = IMAGE,
    syntax: UID | str = ExplicitVRLittleEndian,
    *,
    bits: int | None = None,
    frame: bytes | None = None,
    **changes: Any,
) -> bytes:
    """The bytes of a computed radiograph; ``changes`` sets attributes, or removes those that are None."""
    syntax = UID(syntax)
    allocated = 8 * levels.dtype.itemsize
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(
        "", {}, file_meta=meta, preamble=bytes(128), is_little_endian=syntax != ExplicitVRBigEndian
    )
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = levels.shape[:2]
    dataset.SamplesPerPixel = 1 if levels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if levels.ndim == 2 else "RGB"
    if levels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = allocated
    dataset.BitsStored = bits or allocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(np.issubdtype(levels.dtype, np.signedinteger))
    if frame is None and syntax in (RLELossless, JPEGLSLossless):
        frame = get_encoder(syntax).encode(dataset_with(dataset, levels))
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        little = levels.astype(levels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<"))
        dataset.PixelData = little.tobytes() + bytes(levels.nbytes % 2)
        dataset["PixelData"].VR = "OB" if allocated == 8 and syntax != ImplicitVRLittleEndian else "OW"
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dataset_with(dataset: FileDataset, levels: np.ndarray) -> Dataset:
    source = Dataset()
    source.update({element.tag: element for element in dataset})
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.PixelData = levels.tobytes()
    return source


def lookup_table(data: list[int] | bytes, first: int, bits: int, entries: int | None = None) -> Sequence:
    """A Modality or VOI LUT sequence; ``first``: the first mapped value."""
    item = Dataset()
    item.LUTDescriptor = [len(data) if entries is None else entries, first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.LUTData = data
    item["LUTData"].VR = "OW" if isinstance(data, bytes) else "US"
    return Sequence([item])


LOSSLESS: dict[str, tuple[UID, Callable[[np.ndarray, int], bytes] | None]] = {
    "explicit": (ExplicitVRLittleEndian, None),
    "implicit": (ImplicitVRLittleEndian, None),
    "big endian": (ExplicitVRBigEndian, None),
    "deflated": (DeflatedExplicitVRLittleEndian, None),
    "RLE": (RLELossless, None),
    "JPEG-LS": (JPEGLSLossless, None),
    "JPEG 2000": (JPEG2000Lossless, lambda levels, bits: jpeg_2000(levels)),
    "JPEG lossless": (JPEGLosslessSV1, jpeg_lossless),
}
"""Lossless storage by name: the transfer syntax, and a function that compresses pixels of some bits."""


def text_element(data: bytes, tag: int, text: str, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The file with a decimal string before its pixels, which pydicom would refuse to write."""
    value = text.encode() + b" " * (len(text) % 2)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    group = struct.pack(f"{order}2H", tag >> 16, tag & 0xFFFF)
    if syntax == ImplicitVRLittleEndian:
        element = group + struct.pack("<I", len(value)) + value
    else:
        element = group + b"DS" + struct.pack(f"{order}H", len(value)) + value
    place = data.rindex(struct.pack(f"{order}2H", 0x7FE0, 0x0010))
    return data[:place] + element + data[place:]
