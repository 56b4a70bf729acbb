"""A DICOM radiograph gives the gray levels of the same image in another format, as a viewer shows them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from dicom_files import IMAGE, LOSSLESS, dicom, jpeg, jpeg_2000, lookup_table
from PIL import Image
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from pneumo_cli.data.decoding import decode_image


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_8_bits_give_the_gray_levels_exactly(storage: str, photometric: str) -> None:
    syntax, encode = LOSSLESS[storage]
    stored = 255 - IMAGE if photometric == "MONOCHROME1" else IMAGE
    frame = encode(stored, 8) if encode else None
    data = dicom(stored, syntax, frame=frame, PhotometricInterpretation=photometric)
    assert np.array_equal(decode_image(data), IMAGE)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_12_and_16_bits_give_the_gray_levels_within_rounding(storage: str, bits: int) -> None:
    syntax, encode = LOSSLESS[storage]
    if storage == "JPEG 2000" and bits == 12:
        pytest.skip("Pillow writes JPEG 2000 of 16 bits only")
    highest = 2**bits - 1
    stored = np.rint(IMAGE / 255 * highest).astype(np.uint16)
    data = dicom(stored, syntax, bits=bits, frame=encode(stored, bits) if encode else None)
    assert np.array_equal(decode_image(data), IMAGE)
    inverted = (highest - stored).astype(np.uint16)
    frame = encode(inverted, bits) if encode else None
    data = dicom(inverted, syntax, bits=bits, frame=frame, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(decode_image(data), IMAGE)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_jpeg_in_dicom_gives_what_the_same_jpeg_gives_as_a_file(syntax: UID, photometric: str) -> None:
    frame = jpeg(IMAGE)
    levels = decode_image(dicom(IMAGE, syntax, frame=frame, PhotometricInterpretation=photometric))
    expected = decode_image(frame)
    assert np.array_equal(levels, 255 - expected if photometric == "MONOCHROME1" else expected)


def test_lossy_jpeg_2000_is_close() -> None:
    levels = decode_image(dicom(IMAGE, JPEG2000, frame=jpeg_2000(IMAGE, lossy=True)))
    assert np.abs(levels.astype(int) - IMAGE).max() <= 3


@pytest.mark.parametrize("storage", ["explicit", "implicit", "RLE"])
def test_signed_values_are_mapped_from_their_lowest_to_their_highest(storage: str) -> None:
    stored = (np.rint(IMAGE / 255 * 4095) - 2048).astype(np.int16)
    assert np.array_equal(decode_image(dicom(stored, LOSSLESS[storage][0], bits=12)), IMAGE)


@pytest.mark.parametrize("storage", ["explicit", "RLE"])
def test_bits_above_the_stored_ones_are_ignored(storage: str) -> None:
    stored = np.rint(IMAGE / 255 * 4095).astype(np.uint16)
    stored[::2] |= 0xA000  # as old overlays
    assert np.array_equal(decode_image(dicom(stored, LOSSLESS[storage][0], bits=12)), IMAGE)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_12_bits_declared_as_16_are_not_almost_black(kind: type) -> None:
    stored = np.rint(IMAGE / 255 * 4095).astype(kind)
    assert np.array_equal(decode_image(dicom(stored, bits=16)), IMAGE)


def test_a_dark_image_of_8_bits_stays_dark() -> None:
    assert np.array_equal(decode_image(dicom(IMAGE // 8)), IMAGE // 8)


def test_colour_becomes_luminance() -> None:
    colours = np.stack([IMAGE, IMAGE // 2, 255 - IMAGE], axis=-1)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(decode_image(dicom(colours)), expected)
    assert np.array_equal(decode_image(dicom(colours, RLELossless)), expected)
    gray = np.stack([IMAGE] * 3, axis=-1)
    levels = decode_image(
        dicom(gray, JPEGBaseline8Bit, frame=jpeg(gray), PhotometricInterpretation="YBR_FULL_422")
    )
    assert np.abs(levels.astype(int) - IMAGE).max() <= 3


def test_resizing_gives_the_same_as_for_a_png() -> None:
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, "PNG")
    assert np.array_equal(decode_image(dicom(), 32), decode_image(buffer.getvalue(), 32))


def test_a_window_maps_as_the_standard_says() -> None:
    stored = np.array([[0, 99, 100, 150, 200, 300, 4095]], np.uint16)
    window = {"WindowCenter": "150", "WindowWidth": "101"}
    shown = decode_image(dicom(stored, bits=12, **window))
    # PS3.3 C.11.2.1.2.1: (x - (c - 0.5)) / (w - 1) + 0.5
    assert shown.tolist() == [[0, 0, 1, 129, 255, 255, 255]]
    exact = decode_image(dicom(stored, bits=12, VOILUTFunction="LINEAR_EXACT", **window))
    assert exact.tolist() == [[0, 0, 1, 128, 254, 255, 255]]
    sigmoid = decode_image(dicom(stored, bits=12, VOILUTFunction="SIGMOID", **window))
    assert sigmoid.tolist() == [[1, 30, 31, 128, 224, 254, 255]]


def test_the_first_of_several_windows_is_used() -> None:
    stored = np.rint(IMAGE / 255 * 1000).astype(np.uint16)
    data = dicom(stored, bits=12, WindowCenter=["500.5", "9"], WindowWidth=["1001", "9"])
    assert np.array_equal(decode_image(data), IMAGE)


@pytest.mark.parametrize("window", [("", ""), ("5", "0"), ("5", "-3")])
def test_a_window_without_a_positive_width_is_ignored(window: tuple[str, str]) -> None:
    assert np.array_equal(decode_image(dicom(WindowCenter=window[0], WindowWidth=window[1])), IMAGE)


def test_the_window_applies_to_rescaled_values() -> None:
    stored = np.rint(IMAGE / 255 * 4000).astype(np.uint16)
    rescale = {"RescaleSlope": "0.5", "RescaleIntercept": "-1000"}
    data = dicom(stored, bits=12, WindowCenter="0.5", WindowWidth="2001", **rescale)
    assert np.array_equal(decode_image(data), IMAGE)
    assert np.array_equal(decode_image(dicom(RescaleSlope="2", RescaleIntercept="-7")), IMAGE)


def test_a_negative_slope_inverts_the_gray_levels() -> None:
    assert np.array_equal(decode_image(dicom(255 - IMAGE, RescaleSlope="-1", RescaleIntercept="255")), IMAGE)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_voi_lut_is_used_before_a_window(syntax: UID) -> None:
    table = [min(65535, 257 * level) for level in range(256)]
    stored = IMAGE.astype(np.uint16) + 100
    for data in (table, struct.pack("<256H", *table)):
        changes = {"VOILUTSequence": lookup_table(data, 100, 16, 256), "WindowCenter": 3, "WindowWidth": 9}
        assert np.array_equal(decode_image(dicom(stored, syntax, bits=12, **changes)), IMAGE)


def test_a_lut_with_a_negative_first_value_fits_signed_pixels() -> None:
    stored = IMAGE.astype(np.int16) - 100
    data = dicom(stored, bits=12, VOILUTSequence=lookup_table(list(range(256)), -100, 8))
    assert np.array_equal(decode_image(data), IMAGE)


def test_a_modality_lut_is_applied_first() -> None:
    table = lookup_table([4095 - 16 * level for level in range(256)], 0, 12)
    inverse = decode_image(dicom(255 - IMAGE, ModalityLUTSequence=table)).astype(int)
    assert np.abs(inverse - IMAGE).max() <= 1 + 15 * 255 // 4095
    window = {"WindowCenter": "2055.5", "WindowWidth": "4081"}  # the table gives 15 to 4095
    assert np.array_equal(decode_image(dicom(255 - IMAGE, ModalityLUTSequence=table, **window)), IMAGE)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_pixel_padding_is_black_and_does_not_count_for_the_range(kind: type, photometric: str) -> None:
    picture = np.rint(IMAGE / 255 * 4095)
    stored = (4095 - picture if photometric == "MONOCHROME1" else picture).astype(kind)
    stored[:, :10] = 30_000
    stored[:, 10:12] = 29_990
    changes = {"PixelPaddingValue": 29_990, "PixelPaddingRangeLimit": 30_000}
    shown = decode_image(dicom(stored, PhotometricInterpretation=photometric, **changes))
    assert not shown[:, :12].any()
    assert np.array_equal(shown[:, 12:], IMAGE[:, 12:])


REAL = Path(__file__).parents[4] / "shared" / "data" / "chest_xray"


@pytest.mark.real_data
def test_a_real_radiograph_gives_its_gray_levels() -> None:
    file = next(iter(sorted(REAL.rglob("*.jp*g"))), None)
    if file is None:
        pytest.skip(f"no real radiographs in {REAL}")
    image = decode_image(file.read_bytes())
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        stored = 255 - image if photometric == "MONOCHROME1" else image
        for syntax, encode in LOSSLESS.values():
            frame = encode(stored, 8) if encode else None
            data = dicom(stored, syntax, frame=frame, PhotometricInterpretation=photometric)
            assert np.array_equal(decode_image(data), image)
    deep = np.rint(image / 255 * 4095).astype(np.uint16)
    windowed = dicom(deep, RLELossless, bits=12, WindowCenter="2048", WindowWidth="4096")
    assert np.array_equal(decode_image(windowed, 64), decode_image(dicom(image), 64))
