"""Headers that do not match the pixels: a file gives the gray levels of its image, or is refused with a reason."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from dicom_files import IMAGE, LOSSLESS, dicom, jpeg_2000, lookup_table, text_element
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless

from pneumo_cli.data.decoding import decode
from pneumo_cli.errors import UnreadableImage

DEEP = np.rint(IMAGE / 255 * 4095).astype(np.uint16)
"""The image in 12 bits."""


def stored_in(storage: str, words: np.ndarray, bits: int, **changes: Any) -> bytes:
    """Words of 16 bits in a file whose header states ``bits``."""
    syntax, encode = LOSSLESS[storage]
    frame = encode(words, 16) if encode else None
    return dicom(words, syntax, frame=frame, **{"BitsStored": bits, "HighBit": bits - 1, **changes})


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- bit fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [15, 11, 7, 99])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_left_aligned_values_are_read_whatever_high_bit_says(storage: str, high: int) -> None:
    data = stored_in(storage, DEEP << 4, 12, HighBit=high)
    assert np.abs(decode(data).astype(int) - IMAGE).max() <= 1


@pytest.mark.parametrize("high", [15, 13, 11, 0])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_right_aligned_values_are_read_whatever_high_bit_says(storage: str, high: int) -> None:
    assert np.array_equal(decode(stored_in(storage, DEEP, 12, HighBit=high)), IMAGE)


@pytest.mark.parametrize("stored", [8, 10, 11])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_values_of_more_bits_than_are_stated_are_read_with_all_of_them(storage: str, stored: int) -> None:
    noise = np.random.default_rng(2).integers(-60, 60, DEEP.shape)  # as detectors have
    values = np.clip(DEEP + noise, 0, 4095).astype(np.uint16)
    levels = decode(stored_in(storage, values, stored))
    assert np.abs(levels.astype(int) - np.rint(values / 4095 * 255)).max() <= 1


@pytest.mark.parametrize("storage", LOSSLESS)
def test_overlays_in_the_bits_above_the_stored_ones_are_ignored(storage: str) -> None:
    words = DEEP.copy()
    words[10:20, 5:60] |= 0x8000
    words[::7] |= 0x1000
    assert np.array_equal(decode(stored_in(storage, words, 12)), IMAGE)
    words = DEEP | 0x4000  # a plane that is full
    assert np.array_equal(decode(stored_in(storage, words, 12)), IMAGE)


def test_overlays_in_the_bits_below_left_aligned_values_are_ignored() -> None:
    words = DEEP << 4
    words[10:20, 5:60] |= 1
    assert np.array_equal(decode(dicom(words, BitsStored=12, HighBit=15)), IMAGE)


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_signed_values_of_12_bits_have_their_sign_in_every_storage(storage: str, extended: bool) -> None:
    signed = DEEP.astype(np.int16) - 2048
    words = signed.view(np.uint16) if extended else signed.view(np.uint16) & 0x0FFF
    assert np.array_equal(decode(stored_in(storage, words, 12, PixelRepresentation=1)), IMAGE)


def test_left_aligned_signed_values_are_read() -> None:
    words = (DEEP.astype(np.int16) - 2048).view(np.uint16) << 4
    assert np.array_equal(decode(dicom(words, BitsStored=12, HighBit=15, PixelRepresentation=1)), IMAGE)


@pytest.mark.parametrize("bits", [12, 14, 16])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_unsigned_values_that_are_said_to_be_signed_are_read_as_such(storage: str, bits: int) -> None:
    values = np.rint(IMAGE / 255 * (2**bits - 1)).astype(np.uint16)
    assert np.array_equal(decode(stored_in(storage, values, bits, PixelRepresentation=1)), IMAGE)


def test_signed_values_beside_padding_keep_their_sign() -> None:
    """Between padding and image the unsigned values are closer, but far from continuous."""
    signed = (DEEP // 2).astype(np.int16)
    signed[:, :20] = -2000
    levels = decode(dicom(signed, bits=12, PixelPaddingValue=-2000))
    assert not levels[:, :20].any()
    assert np.abs(levels[:, 20:].astype(int) - IMAGE[:, 20:]).max() <= 1


def test_jpeg_2000_values_have_the_depth_of_the_stream() -> None:
    """A stream of 8 bits in a header of 16, of which 12 are stated."""
    data = dicom(IMAGE.astype(np.uint16), JPEG2000Lossless, bits=12, frame=jpeg_2000(IMAGE))
    assert np.array_equal(decode(data), IMAGE)


@pytest.mark.parametrize("changes", [{"BitsStored": 12}, {"BitsAllocated": 12, "BitsStored": 16}])
def test_more_bits_stored_than_allocated_are_refused(changes: dict[str, int]) -> None:
    assert "bits per pixel" in reason(dicom(IMAGE, **changes))


def test_twice_as_many_pixels_as_in_the_header_are_refused() -> None:
    data = dicom(DEEP, BitsAllocated=8, BitsStored=8, HighBit=7)
    assert "9,760 bytes of pixels, 4,880 by its header" in reason(data)


@settings(max_examples=40, deadline=None)
@given(
    bits=st.integers(10, 15),
    left=st.booleans(),
    storage=st.sampled_from([name for name in LOSSLESS if name != "JPEG lossless"]),
)
def test_alignment_and_depth_never_change_the_picture(bits: int, left: bool, storage: str) -> None:
    values = np.rint(IMAGE / 255 * (2**bits - 1)).astype(np.uint16)
    words = values << (16 - bits) if left else values
    data = stored_in(storage, words, bits, HighBit=15 if left else bits - 1)
    assert np.array_equal(decode(data), IMAGE)


# --- lookup tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("stated", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_range_of_a_lookup_table_is_that_of_its_values(name: str, stated: int, used: int) -> None:
    table = np.rint(np.arange(4096) / 4095 * (2**used - 1)).astype(int).tolist()
    levels = decode(dicom(DEEP, bits=12, **{name: lookup_table(table, 0, stated)}))
    assert np.abs(levels.astype(int) - IMAGE).max() <= 1


@pytest.mark.parametrize("storage", LOSSLESS)
def test_a_lookup_table_of_words_is_read_in_every_storage(storage: str) -> None:
    order = ">" if LOSSLESS[storage][0] == ExplicitVRBigEndian else "<"
    table = struct.pack(f"{order}4096H", *range(4096))
    data = stored_in(storage, DEEP, 12, VOILUTSequence=lookup_table(table, 0, 16, 4096))
    assert np.array_equal(decode(data), IMAGE)


@pytest.mark.parametrize("big", [False, True])
def test_a_table_of_8_bits_may_be_packed_two_in_a_word(big: bool) -> None:
    table = np.arange(256, dtype=np.uint8)
    data = table.view("<u2").astype(">u2" if big else "<u2").tobytes()
    syntax = LOSSLESS["big endian" if big else "explicit"][0]
    for stated in (8, 16):
        changes = {"VOILUTSequence": lookup_table(data, 0, stated, 256)}
        assert np.array_equal(decode(dicom(IMAGE, syntax, **changes)), IMAGE)


def test_65536_entries_are_stated_as_0() -> None:
    words = IMAGE.astype(np.uint16) * 257
    table = np.arange(2**16).astype("<u2").tobytes()
    assert np.array_equal(decode(dicom(words, VOILUTSequence=lookup_table(table, 0, 16, 0))), IMAGE)


def test_a_lookup_table_without_a_descriptor_is_refused() -> None:
    for name in ("LUTDescriptor", "LUTData"):
        sequence = lookup_table(list(range(4096)), 0, 12)
        delattr(sequence[0], name)
        assert "a lookup table without" in reason(dicom(DEEP, bits=12, VOILUTSequence=sequence))


def test_a_table_of_another_length_than_stated_is_refused_where_the_image_needs_the_rest() -> None:
    for length, stated in ((2000, 4096), (4096, 256)):
        data = dicom(DEEP, bits=12, VOILUTSequence=lookup_table(list(range(length)), 0, 12, stated))
        assert f"a lookup table of {length:,} entries, {stated:,} by its descriptor" in reason(data)
    data = dicom(DEEP, bits=12, VOILUTSequence=lookup_table(list(range(4095)), 0, 12, 4096))
    assert np.abs(decode(data).astype(int) - IMAGE).max() <= 1
    data = dicom(DEEP // 4, bits=12, VOILUTSequence=lookup_table(list(range(2000)), 0, 12, 4096))
    assert decode(data).max() < 140


# --- windows, rescale, polarity ------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["explicit", "implicit", "big endian", "RLE"])
@pytest.mark.parametrize(
    ("center", "width"),
    [
        ("2048,5", "4096"),
        ("2048.5", "4096,0"),
        ("auto", "4096"),
        ("2048", "NaN"),
        ("inf", "4096"),
        ("1.024.5", "10"),
        ("", ""),
        ("2048", "0"),
        ("2048", "-100"),
        ("auto\\2048", "5\\4096"),
        ("100\\2048", "0\\4096"),
        ("2048" + " " * 2000, "4096"),
    ],
)
def test_a_window_is_read_with_a_comma_and_ignored_if_it_is_none(
    storage: str, center: str, width: str
) -> None:
    data = stored_in(storage, DEEP, 12) if storage == "RLE" else dicom(DEEP, LOSSLESS[storage][0], bits=12)
    for tag, text in ((0x00281050, center), (0x00281051, width)):
        data = text_element(data, tag, text, LOSSLESS[storage][0])
    assert np.abs(decode(data).astype(int) - IMAGE).max() <= 1


@pytest.mark.parametrize(("slope", "intercept"), [("2,5", "-1,5"), ("", ""), ("1", "")])
def test_a_rescale_with_a_comma_or_without_a_value_is_read(slope: str, intercept: str) -> None:
    data = text_element(dicom(DEEP, bits=12), 0x00281052, intercept)
    assert np.array_equal(decode(text_element(data, 0x00281053, slope)), IMAGE)


@pytest.mark.parametrize("text", ["none", "1/2", "nan", "1 2"])
def test_a_rescale_that_is_no_number_is_refused(text: str) -> None:
    assert "RescaleSlope is not a number" in reason(text_element(dicom(DEEP, bits=12), 0x00281053, text))
    assert "RescaleIntercept is not a number" in reason(text_element(dicom(DEEP, bits=12), 0x00281052, text))


@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_either_attribute_inverts_an_image_once(photometric: str, shape: str | None) -> None:
    changes = {"PhotometricInterpretation": photometric, **({"PresentationLUTShape": shape} if shape else {})}
    inverted = photometric == "MONOCHROME1" or shape == "INVERSE"
    stored = 4095 - DEEP if inverted else DEEP
    assert np.array_equal(decode(dicom(stored, bits=12, **changes)), IMAGE)


# --- metadata ------------------------------------------------------------------------------------------------


def element(tag: int, kind: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, kind, 0, length) + value


def with_elements(content: bytes) -> bytes:
    """The file with elements before its image."""
    data = dicom(DEEP, bits=12)
    place = data.index(struct.pack("<HH", 0x0028, 0x0002), 132)
    return data[:place] + content + data[place:]


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize(
    "content",
    [
        element(0x00091001, b"OB", 2**25, bytes(2**25)),
        element(0x00091001, b"UN", 0xFFFFFFFF, ITEM + ITEM_END + END),
        element(
            0x00091001, b"UN", 0xFFFFFFFF, ITEM + struct.pack("<HHI", 9, 2, 4) + b"abcd" + ITEM_END + END
        ),
        element(0x00091001, b"SQ", 0xFFFFFFFF, (ITEM + ITEM_END) * 20_000 + END),
        (element(0x00091001, b"SQ", 0xFFFFFFFF) + ITEM) * 20_000 + (ITEM_END + END) * 20_000,
        element(0x00091001, b"OB", 0xFFFFFFFF, struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"abcd" + END),
    ],
    ids=["large", "private sequence", "implicit within", "many items", "nested deeply", "fragments"],
)
def test_private_elements_of_any_size_and_depth_are_skipped(content: bytes) -> None:
    assert np.array_equal(decode(with_elements(content)), IMAGE)


def test_an_icon_before_the_image_is_not_the_image() -> None:
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.PixelData = b"\1\2\3\4"
    icon["PixelData"].VR = "OW"
    for undefined in (True, False):
        sequence = Sequence([icon])
        data = dicom(DEEP, bits=12, IconImageSequence=sequence)
        assert np.array_equal(decode(data), IMAGE), undefined


def test_a_wanted_element_of_any_size_and_depth_is_refused() -> None:
    nested = (element(0x00283010, b"SQ", 0xFFFFFFFF) + ITEM) * 20_000
    assert reason(with_elements(nested))
    assert "of 5 MiB" in reason(with_elements(element(0x00283010, b"SQ", 5 * 2**20, bytes(5 * 2**20))))


def test_lengths_that_look_like_letters_are_lengths_in_an_implicit_file() -> None:
    data = dicom(DEEP, LOSSLESS["implicit"][0], bits=12)
    place = data.index(struct.pack("<HH", 0x0028, 0x0002), 132)
    length = int.from_bytes(b"OB\0\0", "little")
    private = struct.pack("<HHI", 9, 0x1001, length) + bytes(length)
    assert np.array_equal(decode(data[:place] + private + data[place:]), IMAGE)
