"""Decoding DICOM radiographs to the gray levels that a viewer shows.

In the order of the standard (PS3.4 N.2): stored values, Modality LUT or rescale, VOI LUT or window, photometric
interpretation. A radiograph gives the same gray levels as PNG and as DICOM, so models trained on image files can be
used. Other modalities, several frames and raw detector data are refused with a reason, and only attributes that the
image needs are read (no name, no date).

pydicom is imported only once a file is a DICOM file. Headers are untrusted: the number of pixels is checked before
anything is decoded, and inflating stops at a limit.
"""

from __future__ import annotations

import io
import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.errors import UnreadableImage
from pneumo_dicom.pixels import INSTALL, bits_stored, photometric, stored_values, transfer_syntax
from pneumo_dicom.recognition import MAGIC_AT, is_dicom

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

MODALITIES = ("CR", "DX", "DR", "RG")
"""Computed, digital (``DR`` is what some devices write for it) and film radiography (PS3.3 C.7.3.1.1.1)."""

_OTHER_PARTS = frozenset(
    re.findall(
        r"\w+",
        """
        ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BRAIN BREAST CALCANEUS CALF COCCYX CSPINE CERVICAL ELBOW EXTREMITY
        EYE FACE FEMUR FIBULA FINGER FINGERS FOOT FOREARM HAND HEAD HEEL HIP HIPS HUMERUS JAW KNEE KNEES LEG
        LSPINE LSSPINE LUMBAR MANDIBLE MAXILLA NASAL NECK NOSE ORBIT ORBITS PATELLA PELVIS RADIUS RADIUSULNA
        SACRUM SHOULDER SHOULDERS SIJOINT SINUS SINUSES SKULL SSPINE TEETH TIBIA TIBIAFIBULA THIGH THUMB TMJ TOE
        TOES TOOTH ULNA WRIST ZYGOMA
        """,
    )
)
"""Parts of the body other than the chest (PS3.16 annex L, and spellings of devices)."""
_CHEST = frozenset(re.findall(r"\w+", "CHEST THORAX THORACIC LUNG LUNGS RIB RIBS HEART WHOLEBODY BODY"))

_MAX_INFLATED = 512 * 2**20
_DEFLATED = "1.2.840.10008.1.2.1.99"
_ATTRIBUTES: list[str] = re.findall(
    r"\w+",
    """
    SOPClassUID Modality PresentationIntentType SamplesPerPixel PhotometricInterpretation PlanarConfiguration
    NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue
    PixelPaddingRangeLimit RescaleSlope RescaleIntercept ModalityLUTSequence VOILUTSequence WindowCenter
    WindowWidth VOILUTFunction PixelData
    """,
)
"""The attributes that decoding reads."""


def decode_dicom(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a radiograph to the gray levels that a viewer shows.

    Modality LUT or rescale slope and intercept; then the first VOI LUT, or else the first window (``LINEAR``,
    ``LINEAR_EXACT`` or ``SIGMOID``; one narrower than the standard allows is ignored). Without either, the whole
    range of the stored bits is mapped to 0 to 255, so 8-bit values are unchanged; where a file of more than 8 bits
    uses less than a quarter of its declared range (12 bits declared as 16), only the range of the used bits.
    ``MONOCHROME1`` is inverted, and pixel padding is black. 8-bit colour becomes luminance. The pixel aspect ratio
    is ignored, because images are resized to a square anyway.

    Args:
        data: the content of a DICOM file.
        max_pixels: the largest accepted product of rows and columns, checked before decoding.

    Returns:
        uint8 [H, W].

    Raises:
        UnreadableImage: not a single radiograph, damaged, too large, no installed codec reads its compression, or
            pydicom is missing.
    """
    _silence_pydicom()
    try:
        dataset = _parse(data)
        _check_kind(dataset)
        syntax = transfer_syntax(dataset)
        _check_shape(dataset, max_pixels)
        stored = stored_values(dataset, syntax)
        if stored.ndim == 3:
            return np.asarray(Image.fromarray(stored.astype(np.uint8)).convert("L"))
        return _displayed(stored, dataset)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # parsing damaged bytes may raise anything
        raise UnreadableImage(f"a damaged DICOM file: {_reason(error)}") from error


def other_part(data: bytes) -> str:
    """The body part in a DICOM header, if it is clearly not the chest.

    Body Part Examined is often missing, in another language or wrong, so it gives reason for a remark, not for a
    refusal. Unknown values, and those that also name the chest, count as chest.

    Args:
        data: the content of an image file of any kind.

    Returns:
        The body part, such as ``KNEE``; empty for the chest, a missing value or an unreadable file.
    """
    if not is_dicom(data):
        return ""
    _silence_pydicom()
    try:
        part = str(_parse(data, ["BodyPartExamined"]).get("BodyPartExamined") or "").upper()[:64]
    except MemoryError:
        raise
    except Exception:  # decoding reports it
        return ""
    words = re.findall("[A-Z]+", part)
    if not {*words, "".join(words)} & _OTHER_PARTS or _CHEST & {*words}:
        return ""
    return " ".join(words)


def _silence_pydicom() -> None:
    """Keep pydicom's log lines and warnings off stderr: what matters is raised.

    Called for each file because a filter that is set once does not outlive another's ``catch_warnings``, which is
    itself not thread-safe. An existing filter is not added again.
    """
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"(pydicom\b|pneumo_dicom\b)")


def _parse(data: bytes, names: Sequence[str] = _ATTRIBUTES) -> FileDataset:
    """Read the attributes of these names."""
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise UnreadableImage(f"a DICOM file: reading it needs {INSTALL}") from None
    except Exception as error:  # pydicom imports every installed codec, and one may be broken
        raise UnreadableImage(f"a DICOM file, but pydicom cannot be imported: {_reason(error)}") from error
    try:
        return dcmread(io.BytesIO(_inflated(data)), force=True, specific_tags=list(names))
    except (EOFError, InvalidDicomError, struct.error) as error:
        raise UnreadableImage("a truncated or damaged DICOM file") from error
    except RecursionError:
        raise UnreadableImage("a damaged DICOM file: its sequences are nested too deeply") from None


def _inflated(data: bytes) -> bytes:
    """The same file with a deflated data set inflated, up to a limit, which pydicom does not have."""
    from pydicom.filereader import read_dataset

    if data[MAGIC_AT : MAGIC_AT + 4] != b"DICM" or _DEFLATED.encode() not in data[:4096]:
        return data
    stream = io.BytesIO(data)
    stream.seek(MAGIC_AT + 4)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")) != _DEFLATED:
        return data
    # The file meta elements are followed by one stream without a header (PS3.5 A.5).
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(data[stream.tell() :], _MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise UnreadableImage(f"a DICOM file that inflates to more than {_MAX_INFLATED // 2**20} MiB")
    syntax = b"1.2.840.10008.1.2.1\0"
    element = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(syntax)) + syntax
    return bytes(MAGIC_AT) + b"DICM" + element + content


def _check_kind(dataset: FileDataset) -> None:
    if "PixelData" not in dataset:
        kind = dataset.get("SOPClassUID")
        name = getattr(kind, "name", "") if kind else ""
        raise UnreadableImage(f"a DICOM file without an image{f' ({name[:60]})' if name else ', or cut off'}")
    modality = str(dataset.get("Modality") or "").strip().upper()[:16]
    if modality not in MODALITIES:
        stated = f"modality {modality}" if modality else "a DICOM file without a modality"
        raise UnreadableImage(f"{stated}, not a radiograph ({', '.join(MODALITIES)})")
    if str(dataset.get("PresentationIntentType") or "").strip().upper() == "FOR PROCESSING":
        raise UnreadableImage("raw detector data (FOR PROCESSING), not an image for presentation")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnreadableImage(f"{frames} frames; only single images are supported")


def _check_shape(dataset: FileDataset, max_pixels: int) -> None:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if rows < 1 or columns < 1:
        raise UnreadableImage("a DICOM file whose image has no rows or no columns")
    if rows * columns > max_pixels:
        raise UnreadableImage(f"{columns} x {rows} pixels, more than {max_pixels // 10**6} million")
    samples, allocated = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 0)
    kind = photometric(dataset)
    if samples == 1 and kind in ("MONOCHROME1", "MONOCHROME2"):
        bits = bits_stored(dataset)
        if allocated not in (8, 16) or not 1 <= bits <= allocated:
            raise UnreadableImage(f"{bits} of {allocated} bits per pixel; 8 or 16 are supported")
    elif samples != 3 or allocated != 8 or not (kind == "RGB" or kind.startswith("YBR_")):
        kind = kind[:16] or "no photometric interpretation"
        raise UnreadableImage(f"{kind}, {samples} x {allocated} bits per pixel; gray levels are needed")


def _displayed(stored: NDArray[Any], dataset: FileDataset) -> NDArray[np.uint8]:
    """Gray levels [H, W], looked up in a table of all values that can be stored: at most 65,536."""
    unsigned = np.dtype(f"u{stored.dtype.itemsize}")
    patterns = np.ascontiguousarray(stored).view(unsigned)
    values = np.arange(2 ** (8 * unsigned.itemsize)).astype(unsigned).view(stored.dtype).astype(np.float64)
    padding = _padding(values, dataset)
    present = np.bincount(patterns.ravel(), minlength=len(values)) > 0
    used = present & ~padding
    if not used.any():
        raise UnreadableImage("nothing but pixel padding")
    brightness = _brightness(values, values[used], dataset)
    table = np.rint(255 * np.clip(brightness, 0, 1)).astype(np.uint8)
    if used.sum() > 1 and len(np.unique(table[used])) == 1:
        raise UnreadableImage("its window maps all pixels to one gray level")
    if photometric(dataset) == "MONOCHROME1":
        table = 255 - table
    table[padding] = 0
    gray: NDArray[np.uint8] = table[patterns]
    return gray


def _brightness(
    values: NDArray[np.float64], used: NDArray[np.float64], dataset: FileDataset
) -> NDArray[np.float64]:
    """The brightness of each stored value before inversion: 0 to 1, or beyond where it has to be clipped.

    Args:
        used: those of the values that occur in the image.
    """
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        modality, top = _look_up(values, tables[0])
        limits = (0.0, top)
    else:
        slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
        if slope == 0:
            raise UnreadableImage("a damaged DICOM file: its rescale slope is 0")
        modality = values * slope + intercept
        ends = [end * slope + intercept for end in _stored_range(used, dataset)]
        limits = (min(ends), max(ends))
    tables = dataset.get("VOILUTSequence")
    if tables:
        output, top = _look_up(modality, tables[0])
        return output / top
    window = _window(dataset)
    if window is not None:
        center, width, function = window
        if function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (modality - center) / width, -700, 700)))
        return (modality - center) / width + 0.5
    return (modality - limits[0]) / (limits[1] - limits[0])


def _stored_range(used: NDArray[np.float64], dataset: FileDataset) -> tuple[int, int]:
    """The lowest and highest value of the stored bits, or of the used ones (see :func:`decode_dicom`)."""
    low, high = int(used.min()), int(used.max())
    bits = bits_stored(dataset)
    signed = low < 0
    if dataset.get("PixelRepresentation") and not signed:
        bits -= 1
    needed = max(8, high.bit_length() + signed, (~low).bit_length() + 1 if signed else 0)
    if bits - needed >= 2:
        bits = needed
    bits = max(1, bits)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _window(dataset: FileDataset) -> tuple[float, float, str] | None:
    """Center, width and function of the first window, converted to ``LINEAR_EXACT``; None if it is not valid."""
    width = _number(dataset, "WindowWidth", 0.0)
    if "WindowCenter" not in dataset or dataset.WindowCenter is None:
        return None
    center = _number(dataset, "WindowCenter", 0.0)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1
        center, width = center - 0.5, width - 1
        if width == 0:
            width = 1e-6  # one step from black to white, at the center
    return (center, width, function) if width > 0 else None


def _look_up(values: NDArray[np.float64], item: Any) -> tuple[NDArray[np.float64], float]:
    """Apply a lookup table (PS3.3 C.11.1.1); return its output, and the highest value of its bits."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    if values.min() < 0 and first >= 2**15:
        first -= 2**16  # signed, but read as unsigned
    data = item.LUTData or b""
    if isinstance(data, bytes):
        table = np.frombuffer(data, "<u2" if len(data) >= 2 * entries else "u1")
    else:
        table = np.asarray(data)
    table = table[:entries].astype(np.float64)
    if not table.size:
        raise UnreadableImage("a damaged DICOM file: a lookup table is empty")
    places = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.int64)
    return table[places], float(max(2 ** min(max(bits, 1), 16) - 1, table.max()))


def _padding(values: NDArray[np.float64], dataset: FileDataset) -> NDArray[np.bool_]:
    """Which of the values are pixel padding (PS3.3 C.7.5.1.1.2): a value, or a range."""
    value, limit = (dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return np.zeros(len(values), bool)
    ends = [int(value), int(value if limit is None else limit)]
    if values.min() < 0:  # a signed value may have been read as unsigned
        ends = [end - 2**16 if end >= 2**15 else end for end in ends]
    return (values >= min(ends)) & (values <= max(ends))


def _number(dataset: FileDataset, name: str, missing: float) -> float:
    """An attribute, or its first value. Raises UnreadableImage if it is not finite."""
    value = dataset.get(name)
    if value is None or value == "":
        return missing
    try:
        number = float(value)
    except TypeError:
        number = float(value[0]) if len(value) else missing
    if not math.isfinite(number):
        raise UnreadableImage(f"a damaged DICOM file: {name} is {number}")
    return number


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:100] if text else type(error).__name__
