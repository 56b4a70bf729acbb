"""From stored values to the gray levels that a viewer shows: the gray scale pipeline of PS3.4 N.2.

Modality LUT or rescale, VOI LUT or window, polarity. Attributes that cannot be meant as they are written are read
as devices write them, or the file is refused; the rules are in the functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UnreadableImage
from pneumo_dicom.bit_fields import Stored
from pneumo_dicom.pixels import photometric

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

Values = NDArray[np.float64]

_DEPTHS = (8, 10, 12, 14, 16)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,3})?")
_BINARY = ("FD", "FL", "SL", "SS", "UL", "US")
_WIDE = 3.9
"""A window of this many times the range of the values, about two bits, is that of the storage."""
_FEW_LEVELS = 32
_CLIPPED = 0.9
_LONGEST = 1024  # characters of a list of numbers


def displayed(stored: Stored, dataset: FileDataset, bits: int | None = None) -> NDArray[np.uint8]:
    """Gray levels [H, W], looked up in a table of all values that can be stored: at most 65,536.

    Args:
        bits: the depth that the files of a dataset have in common.

    Raises:
        UnreadableImage: the header maps the pixels to nothing that can be shown.
    """
    values, patterns, counts, padding = _counted(stored, dataset)
    used = (counts > 0) & ~padding
    if not used.any():
        raise UnreadableImage("nothing but pixel padding")
    _check_levels(_levels(_brightness(values, used, stored, dataset, None)), counts, _ascending(values, used))
    table = _levels(_brightness(values, used, stored, dataset, bits))
    if _inverted(dataset):
        table = 255 - table
    table[padding] = 0
    gray: NDArray[np.uint8] = table[patterns]
    return gray


def states_range(dataset: FileDataset) -> bool:
    """Whether a header says which values are black and white: by its bits, a window or a lookup table."""
    bits, samples = int(dataset.get("BitsStored") or dataset.BitsAllocated), dataset.get("SamplesPerPixel")
    tables = dataset.get("ModalityLUTSequence") or dataset.get("VOILUTSequence")
    return bits <= _DEPTHS[-2] or int(samples or 1) > 1 or bool(tables) or _window(dataset) is not None


def largest_stored(stored: Stored, dataset: FileDataset) -> int | None:
    """The largest value but padding and what is white in the storage; None if there are negative ones, or none."""
    values, _, counts, padding = _counted(stored, dataset)
    used = np.sort(values[(counts > 0) & ~padding])
    return _highest(used, stored) if used.size and used[0] >= 0 else None


def _counted(
    stored: Stored, dataset: FileDataset
) -> tuple[Values, NDArray[Any], NDArray[np.int64], NDArray[np.bool_]]:
    """All values that can be stored, the place of each pixel's [H, W], their counts, and which are padding."""
    unsigned = np.dtype(f"u{stored.values.dtype.itemsize}")
    patterns = np.ascontiguousarray(stored.values).view(unsigned)
    values = (
        np.arange(2 ** (8 * unsigned.itemsize)).astype(unsigned).view(stored.values.dtype).astype(np.float64)
    )
    counts = np.bincount(patterns.ravel(), minlength=len(values))
    return values, patterns, counts, _padding(values, stored, dataset)


def _levels(brightness: Values) -> NDArray[np.uint8]:
    return np.rint(255 * np.clip(brightness, 0, 1)).astype(np.uint8)


def _ascending(values: Values, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The places of the used values, from the lowest to the highest."""
    return np.flatnonzero(used)[np.argsort(values[used])]


def _check_levels(table: NDArray[np.uint8], counts: NDArray[np.int64], used: NDArray[np.int64]) -> None:
    """Refuse an image that its header, or an offset of its values, maps to next to nothing.

    Args:
        table: the gray level of each value.
        counts: the number of pixels that have it.
        used: places of the values of the image in both, from the lowest value to the highest.

    Raises:
        UnreadableImage: many values become few gray levels, or most pixels become black or white.
    """
    levels = len(np.unique(table[used]))
    if len(used) > 1 and levels == 1:
        raise UnreadableImage("its window maps all pixels to one gray level")
    if levels < _FEW_LEVELS and len(used) >= 8 * levels:
        raise UnreadableImage(
            f"its window, or the range of its values, maps {len(used):,} values to {levels} gray levels"
        )
    inner = used[1:-1]  # the lowest and the highest value are black and white in many images
    clipped, pixels = counts[inner][np.isin(table[inner], (0, 255))].sum(), counts[inner].sum()
    if clipped > _CLIPPED * pixels:
        raise UnreadableImage(
            f"its window leaves {100 * clipped / pixels:.0f} % of its pixels black or white"
        )


def _inverted(dataset: FileDataset) -> bool:
    """Whether the lowest value is white. Either attribute says so: DX images have both (PS3.3 C.8.11.3.1.2)."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    return photometric(dataset) == "MONOCHROME1" or shape == "INVERSE"


def _brightness(
    values: Values, used: NDArray[np.bool_], stored: Stored, dataset: FileDataset, depth: int | None
) -> Values:
    """The brightness of each stored value before inversion: 0 to 1, or beyond where it has to be clipped.

    Args:
        used: which of the values occur in the image.
        depth: that of the dataset.
    """
    low, high = _stored_range(values[used], stored, depth)
    possible = (values >= low) & (values <= high)
    if stored.bits <= _DEPTHS[-2]:  # more are those of the storage, and tell nothing
        lowest = -(2 ** (stored.bits - 1)) if stored.values.dtype.kind == "i" else 0
        possible = (values >= lowest) & (values < lowest + 2**stored.bits)
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        modality, top = _look_up(values, used, possible, tables[0])
        limits = (0.0, top)
    else:
        slope, intercept = _rescale(dataset, "RescaleSlope", 1.0), _rescale(dataset, "RescaleIntercept", 0.0)
        if slope == 0:
            raise UnreadableImage("a damaged DICOM file: its rescale slope is 0")
        modality = values * slope + intercept
        ends = [end * slope + intercept for end in (low, high)]
        limits = (min(ends), max(ends))
    tables = dataset.get("VOILUTSequence")
    if tables:
        output, top = _look_up(modality, used, possible, tables[0])
        return output / top
    window = _window(dataset)
    if window is not None and window[1] < _WIDE * np.ptp(modality[possible]):
        center, width, function = window
        if function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (modality - center) / width, -700, 700)))
        return (modality - center) / width + 0.5
    return (modality - limits[0]) / (limits[1] - limits[0])


def _stored_range(used: Values, stored: Stored, depth: int | None) -> tuple[int, int]:
    """The lowest and highest value of the stored bits; of the used ones if a quarter of the range is enough."""
    used = np.sort(used)
    low, high, bits = int(used[0]), _highest(used, stored), stored.bits
    signed = low < 0
    if stored.values.dtype.kind == "i" and not signed:
        bits -= 1
    if signed:
        needed = max(8, high.bit_length() + 1, (~low).bit_length() + 1)
    else:
        needed = next(one for one in _DEPTHS if high < 2**one)
        if stored.bits > _DEPTHS[-2]:
            needed = max(needed, depth or 0)
    if bits - needed >= 2 or needed == depth:
        bits = min(bits, needed)
    bits = max(1, bits)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _highest(used: Values, stored: Stored) -> int:
    """The highest of some values; not that of the storage, as text has it, if the others need far fewer bits.

    Args:
        used: different values, ascending.
    """
    top = np.iinfo(stored.values.dtype).max
    return int(used[-2] if used[-1] == top and len(used) > _FEW_LEVELS and used[-2] < top // 4 else used[-1])


def _window(dataset: FileDataset) -> tuple[float, float, str] | None:
    """Center, width and function of the first valid window, converted to ``LINEAR_EXACT``; None without one."""
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    centers, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    for center, width in zip(centers, widths, strict=False):
        if center is None or width is None:
            continue
        if function not in ("LINEAR_EXACT", "SIGMOID"):  # PS3.3 C.11.2.1.2.1
            center, width = center - 0.5, width - 1
            if width == 0:
                width = 1e-6  # one step from black to white, at the center
        if width > 0:
            return center, width, function
    return None


def _look_up(
    values: Values, used: NDArray[np.bool_], possible: NDArray[np.bool_], item: Any
) -> tuple[Values, float]:
    """Apply a lookup table (PS3.3 C.11.1.1); return its output, and the highest value of its bits.

    The descriptor may state the bits of the storage instead of those of the output. They are taken to be those that
    the entries for possible values need, if that is less than a quarter of the stated range.

    Args:
        values: what each stored value is before the table.
        used: which of them occur in the image.
        possible: which of them the stored bits can have.

    Raises:
        UnreadableImage: the table is empty, or does not have the stated length and that matters for the image.
    """
    descriptor = item.get("LUTDescriptor")
    if descriptor is None or len(descriptor) != 3 or "LUTData" not in item:
        raise UnreadableImage(
            "a damaged DICOM file: a lookup table without its data or its three descriptors"
        )
    entries, first, bits = (int(number) for number in descriptor)
    entries = entries % 2**16 or 2**16
    if values.min() < 0 and first >= 2**15:
        first -= 2**16  # signed, but read as unsigned
    elif first < 0 and first + entries <= values.min():
        first += 2**16  # unsigned, but read as signed
    table = _table(item, entries)
    if not table.size:
        raise UnreadableImage("a damaged DICOM file: a lookup table is empty")
    places = np.rint(values) - first
    reached = places[used].max()
    # One entry more or less is padding, or a slip that changes no gray level.
    if abs(len(table) - entries) > 1 and reached > min(len(table), entries):
        raise UnreadableImage(
            f"a damaged DICOM file: a lookup table of {len(table):,} entries, {entries:,} by its descriptor"
        )
    table = table[:entries]
    output = table[np.clip(places, 0, len(table) - 1).astype(np.int64)]
    highest = output[possible].max()
    stated = min(max(bits, 1), 16)
    needed = next(depth for depth in _DEPTHS if highest < 2**depth)
    if stated - needed >= 2:
        stated = needed
    return output, float(max(2**stated - 1, highest))


def _table(item: Any, entries: int) -> Values:
    """The entries of a lookup table. Those of 8 bits may be packed, two in a word."""
    data = item.LUTData or b""
    if isinstance(data, bytes):
        order = ">" if item.original_encoding[1] is False else "<"
        words = np.frombuffer(data, f"{order}u2", len(data) // 2)
        if len(data) % 2:  # not padded
            return np.frombuffer(data, np.uint8).astype(np.float64)
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.int64) % 2**16
    if len(words) < entries and abs(2 * len(words) - entries) <= 2:
        return words.astype("<u2").view(np.uint8)[:entries].astype(np.float64)
    return words.astype(np.float64)


def _padding(values: Values, stored: Stored, dataset: FileDataset) -> NDArray[np.bool_]:
    """Which of the values are pixel padding (PS3.3 C.7.5.1.1.2): a value, or a range."""
    value, limit = (dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return np.zeros(len(values), bool)
    ends = [int(value), int(value if limit is None else limit)]
    if values.min() < 0:  # a signed value may have been read as unsigned
        ends = [end - 2**16 if end >= 2**15 else end for end in ends]
    if stored.shift and max(ends) >= 2**stored.bits:  # left-aligned, as the values were
        ends = [end >> stored.shift for end in ends]
    return (values >= min(ends)) & (values <= max(ends))


def _rescale(dataset: FileDataset, name: str, missing: float) -> float:
    """The first value of a rescale attribute. Raises UnreadableImage if it is not a number."""
    numbers = _numbers(dataset, name)
    if not numbers:
        return missing
    if numbers[0] is None:
        raise UnreadableImage(f"a damaged DICOM file: its {name} is not a number")
    return numbers[0]


def _numbers(dataset: FileDataset, name: str) -> list[float | None]:
    """The values of an attribute, None for each that is no number. A comma is a decimal point."""
    element = dataset.get_item(name)  # as it is in the file: pydicom refuses what is no number
    if element is None or element.value is None:
        return []
    value = element.value
    if isinstance(value, bytes) and element.VR in _BINARY:
        value = dataset[name].value
    if isinstance(value, bytes):
        value = value[:_LONGEST].decode("latin-1").strip("\0 ")
        value = value.split("\\") if value else []
    several: Iterable[Any] = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return [_number(str(one)) for one in several]


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text.strip("\0 ")):
        return None
    number = float(text.strip("\0 ").replace(",", "."))
    return number if math.isfinite(number) else None
