"""Decoding DICOM radiographs to the gray levels that a viewer shows.

In the order of the standard (PS3.4 N.2): stored values, Modality LUT or rescale, VOI LUT or window, photometric
interpretation. A radiograph gives the same gray levels as PNG and as DICOM, so models trained on image files can be
used. Other modalities, several frames and raw detector data are refused with a reason, and only attributes that the
image needs are read (no name, no date).

pydicom is imported only once a file is a DICOM file. Headers are untrusted: the number of pixels is checked before
anything is decoded, and inflating stops at a limit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.errors import UnreadableImage
from pneumo_dicom.elements import file_meta, wanted_elements, with_meta
from pneumo_dicom.gray_scale import displayed, largest_stored, states_range
from pneumo_dicom.pixels import INSTALL, bits_stored, photometric, stored_values, transfer_syntax
from pneumo_dicom.recognition import is_dicom

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
    WindowWidth VOILUTFunction PresentationLUTShape PixelData
    """,
)
"""The attributes that decoding reads."""


def decode_dicom(data: bytes, max_pixels: int, bits: int | None = None) -> NDArray[np.uint8]:
    """Decode a radiograph to the gray levels that a viewer shows.

    Modality LUT or rescale slope and intercept; then the first VOI LUT, or else the first window (``LINEAR``,
    ``LINEAR_EXACT`` or ``SIGMOID``; one narrower than the standard allows, or about four times as wide as the range
    of the values, is ignored). Without either, the whole range of the stored bits is mapped to 0 to 255, so 8-bit
    values are unchanged; where a file of more than 8 bits uses less than a quarter of its declared range (12 bits
    declared as 16), only the range of the used bits, or that of ``bits``. ``MONOCHROME1`` is inverted, and pixel
    padding is black. 8-bit colour becomes luminance. The pixel aspect ratio is ignored, because images are resized
    to a square anyway.

    Args:
        data: the content of a DICOM file.
        max_pixels: the largest accepted product of rows and columns, checked before decoding.
        bits: the depth that a dataset's files have in common, for files that declare all bits of the storage.

    Returns:
        uint8 [H, W].

    Raises:
        UnreadableImage: not a single radiograph, damaged, too large, no installed codec reads its compression, its
            header leaves next to nothing of the image, or pydicom is missing.
    """
    with _reasons():
        dataset = _checked(data, max_pixels)
        stored = stored_values(dataset, transfer_syntax(dataset))
        if stored.values.ndim == 3:
            return np.asarray(Image.fromarray(stored.values.astype(np.uint8)).convert("L"))
        return displayed(stored, dataset, bits)


def largest_value(data: bytes, max_pixels: int) -> int | None:
    """The largest gray value of a file that declares all bits of the storage, and no window or lookup table.

    None for other files, and for negative values.

    Raises:
        UnreadableImage: as :func:`decode_dicom`.
    """
    with _reasons():
        dataset = _checked(data, max_pixels)
        return (
            None
            if states_range(dataset)
            else largest_stored(stored_values(dataset, transfer_syntax(dataset)), dataset)
        )


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


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever is raised into a reason."""
    _silence_pydicom()
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # parsing damaged bytes may raise anything
        raise UnreadableImage(f"a damaged DICOM file: {_reason(error)}") from error


def _checked(data: bytes, max_pixels: int) -> FileDataset:
    """The header of a radiograph whose pixels may be decoded."""
    dataset = _parse(data)
    _check_kind(dataset)
    transfer_syntax(dataset)
    _check_shape(dataset, max_pixels)
    return dataset


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
        from pydicom.datadict import tag_for_keyword
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise UnreadableImage(f"a DICOM file: reading it needs {INSTALL}") from None
    except Exception as error:  # pydicom imports every installed codec, and one may be broken
        raise UnreadableImage(f"a DICOM file, but pydicom cannot be imported: {_reason(error)}") from error
    try:
        content = wanted_elements(_inflated(data), {tag_for_keyword(name) for name in names})
        return dcmread(io.BytesIO(content), force=True, specific_tags=list(names))
    except (EOFError, InvalidDicomError, struct.error) as error:
        raise UnreadableImage("a truncated or damaged DICOM file") from error
    except RecursionError:
        raise UnreadableImage("a damaged DICOM file: its sequences are nested too deeply") from None


def _inflated(data: bytes) -> bytes:
    """The same file with a deflated data set inflated, up to a limit, which pydicom does not have."""
    syntax, begin = file_meta(data)
    if syntax != _DEFLATED:
        return data
    # The file meta elements are followed by one stream without a header (PS3.5 A.5).
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(data[begin:], _MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise UnreadableImage(f"a DICOM file that inflates to more than {_MAX_INFLATED // 2**20} MiB")
    return with_meta(content, "1.2.840.10008.1.2.1")


def _check_kind(dataset: FileDataset) -> None:
    if not dataset.get("PixelData"):
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


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:100] if text else type(error).__name__
