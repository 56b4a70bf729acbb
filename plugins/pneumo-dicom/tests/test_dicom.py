"""DICOM files made here from drawn radiographs, and from a real one, in every way that devices store them."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import PICTURE, dicom, jpeg, jpeg_2000, jpeg_lossless
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pneumo_cli.data.decoding import decode_image
from pneumo_cli.errors import UnreadableImage
from pneumo_dicom import jpeg_lossless as jpeg_lossless_module
from pneumo_dicom import pixels
from pneumo_dicom.dicom import is_dicom, other_part
from pneumo_dicom.jpeg_lossless import decode_jpeg_lossless
from pneumo_dicom.pixels import INSTALL


def error_of(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 160
    return text


# --- the same grey levels as the picture ---------------------------------------------------------------------

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


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_a_radiograph_of_8_bits_gives_its_grey_levels_exactly(storage: str, photometric: str) -> None:
    syntax, encode = LOSSLESS[storage]
    stored = 255 - PICTURE if photometric == "MONOCHROME1" else PICTURE
    frame = encode(stored, 8) if encode else None
    data = dicom(stored, syntax, frame=frame, PhotometricInterpretation=photometric)
    assert np.array_equal(decode_image(data), PICTURE)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("storage", LOSSLESS)
def test_12_and_16_bits_give_the_grey_levels_within_rounding(storage: str, bits: int) -> None:
    syntax, encode = LOSSLESS[storage]
    if storage == "JPEG 2000" and bits == 12:
        pytest.skip("Pillow writes JPEG 2000 of 16 bits only")
    highest = 2**bits - 1
    stored = np.rint(PICTURE / 255 * highest).astype(np.uint16)
    data = dicom(stored, syntax, bits=bits, frame=encode(stored, bits) if encode else None)
    assert np.array_equal(decode_image(data), PICTURE)
    inverted = (highest - stored).astype(np.uint16)
    frame = encode(inverted, bits) if encode else None
    data = dicom(inverted, syntax, bits=bits, frame=frame, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(decode_image(data), PICTURE)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_jpeg_in_dicom_gives_what_the_same_jpeg_gives_as_a_file(syntax: UID, photometric: str) -> None:
    frame = jpeg(PICTURE)
    levels = decode_image(dicom(PICTURE, syntax, frame=frame, PhotometricInterpretation=photometric))
    expected = decode_image(frame)
    assert np.array_equal(levels, 255 - expected if photometric == "MONOCHROME1" else expected)


def test_lossy_jpeg_2000_is_close() -> None:
    levels = decode_image(dicom(PICTURE, JPEG2000, frame=jpeg_2000(PICTURE, lossy=True)))
    assert np.abs(levels.astype(int) - PICTURE).max() <= 3


@pytest.mark.parametrize("storage", ["explicit", "implicit", "RLE"])
def test_signed_values_run_from_their_lowest_to_their_highest(storage: str) -> None:
    stored = (np.rint(PICTURE / 255 * 4095) - 2048).astype(np.int16)
    assert np.array_equal(decode_image(dicom(stored, LOSSLESS[storage][0], bits=12)), PICTURE)


@pytest.mark.parametrize("storage", ["explicit", "RLE"])
def test_what_lies_above_the_stored_bits_is_ignored(storage: str) -> None:
    stored = np.rint(PICTURE / 255 * 4095).astype(np.uint16)
    stored[::2] |= 0xA000  # an overlay of old
    assert np.array_equal(decode_image(dicom(stored, LOSSLESS[storage][0], bits=12)), PICTURE)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_12_bits_declared_as_16_are_not_almost_black(kind: type) -> None:
    stored = np.rint(PICTURE / 255 * 4095).astype(kind)
    assert np.array_equal(decode_image(dicom(stored, bits=16)), PICTURE)


def test_a_dark_picture_of_8_bits_stays_dark() -> None:
    assert np.array_equal(decode_image(dicom(PICTURE // 8)), PICTURE // 8)


def test_colour_becomes_luminance() -> None:
    colours = np.stack([PICTURE, PICTURE // 2, 255 - PICTURE], axis=-1)
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    assert np.array_equal(decode_image(dicom(colours)), expected)
    assert np.array_equal(decode_image(dicom(colours, RLELossless)), expected)
    grey = np.stack([PICTURE] * 3, axis=-1)
    levels = decode_image(
        dicom(grey, JPEGBaseline8Bit, frame=jpeg(grey), PhotometricInterpretation="YBR_FULL_422")
    )
    assert np.abs(levels.astype(int) - PICTURE).max() <= 3


def test_the_size_is_that_of_the_png_resized() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG")
    assert np.array_equal(decode_image(dicom(), 32), decode_image(buffer.getvalue(), 32))


# --- what a viewer does before it shows them -----------------------------------------------------------------


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


def test_the_first_of_several_windows_counts() -> None:
    stored = np.rint(PICTURE / 255 * 1000).astype(np.uint16)
    data = dicom(stored, bits=12, WindowCenter=["500.5", "9"], WindowWidth=["1001", "9"])
    assert np.array_equal(decode_image(data), PICTURE)


@pytest.mark.parametrize("window", [("", ""), ("5", "0"), ("5", "-3")])
def test_a_window_without_a_width_is_none(window: tuple[str, str]) -> None:
    assert np.array_equal(decode_image(dicom(WindowCenter=window[0], WindowWidth=window[1])), PICTURE)


def test_the_window_is_in_units_after_rescaling() -> None:
    stored = np.rint(PICTURE / 255 * 4000).astype(np.uint16)
    rescale = {"RescaleSlope": "0.5", "RescaleIntercept": "-1000"}
    data = dicom(stored, bits=12, WindowCenter="0.5", WindowWidth="2001", **rescale)
    assert np.array_equal(decode_image(data), PICTURE)
    assert np.array_equal(decode_image(dicom(RescaleSlope="2", RescaleIntercept="-7")), PICTURE)


def test_a_negative_slope_turns_dark_into_bright() -> None:
    assert np.array_equal(
        decode_image(dicom(255 - PICTURE, RescaleSlope="-1", RescaleIntercept="255")), PICTURE
    )


def look_up_table(data: list[int] | bytes, first: int, bits: int, entries: int | None = None) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(data) if entries is None else entries, first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.LUTData = data
    item["LUTData"].VR = "OW" if isinstance(data, bytes) else "US"
    return Sequence([item])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_voi_table_comes_before_a_window(syntax: UID) -> None:
    table = [min(65535, 257 * level) for level in range(256)]
    stored = PICTURE.astype(np.uint16) + 100
    for data in (table, struct.pack("<256H", *table)):
        changes = {"VOILUTSequence": look_up_table(data, 100, 16, 256), "WindowCenter": 3, "WindowWidth": 9}
        assert np.array_equal(decode_image(dicom(stored, syntax, bits=12, **changes)), PICTURE)


def test_a_table_with_a_negative_first_value_fits_signed_pixels() -> None:
    stored = PICTURE.astype(np.int16) - 100
    data = dicom(stored, bits=12, VOILUTSequence=look_up_table(list(range(256)), -100, 8))
    assert np.array_equal(decode_image(data), PICTURE)


def test_a_modality_table_is_applied_first() -> None:
    table = look_up_table([4095 - 16 * level for level in range(256)], 0, 12)
    inverse = decode_image(dicom(255 - PICTURE, ModalityLUTSequence=table)).astype(int)
    assert np.abs(inverse - PICTURE).max() <= 1 + 15 * 255 // 4095
    window = {"WindowCenter": "2055.5", "WindowWidth": "4081"}  # the table gives 15 to 4095
    assert np.array_equal(decode_image(dicom(255 - PICTURE, ModalityLUTSequence=table, **window)), PICTURE)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_pixel_padding_is_black_and_no_part_of_the_range(kind: type, photometric: str) -> None:
    picture = np.rint(PICTURE / 255 * 4095)
    stored = (4095 - picture if photometric == "MONOCHROME1" else picture).astype(kind)
    stored[:, :10] = 30_000
    stored[:, 10:12] = 29_990
    changes = {"PixelPaddingValue": 29_990, "PixelPaddingRangeLimit": 30_000}
    shown = decode_image(dicom(stored, PhotometricInterpretation=photometric, **changes))
    assert not shown[:, :12].any()
    assert np.array_equal(shown[:, 12:], PICTURE[:, 12:])


# --- recognised by content -----------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_preamble_is_recognised(syntax: UID) -> None:
    data = dicom(syntax=syntax)
    meta = data.index(struct.pack("<HH", 8, 0x16), 132)
    for bare in (data[132:], data[meta:]):
        assert is_dicom(bare)
        assert np.array_equal(decode_image(bare), PICTURE)


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(300), jpeg(PICTURE), b"\x08\0 text that begins so"])
def test_other_files_are_not(data: bytes) -> None:
    assert not is_dicom(data)


def test_a_picture_with_the_magic_by_accident_stays_a_picture() -> None:
    data = jpeg(PICTURE)
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 200) + bytes(104) + b"DICM" + bytes(92)
    marked = data[:20] + comment + data[20:]
    assert marked[128:132] == b"DICM"
    assert np.array_equal(decode_image(marked), decode_image(data))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, ""),
        ("", ""),
        ("CHEST", ""),
        ("THORAX PA", ""),
        ("CHEST ABDOMEN", ""),
        ("PORT", ""),
        ("KNEE", "KNEE"),
        ("ABDOMEN ", "ABDOMEN"),
        ("L_SPINE", "L SPINE"),
        ("SKULL LAT", "SKULL LAT"),
    ],
)
def test_a_part_of_the_body_is_named_where_it_is_clearly_another(said: str | None, found: str) -> None:
    film = dicom(**({} if said is None else {"BodyPartExamined": said}))
    assert other_part(film) == found
    assert np.array_equal(decode_image(film), PICTURE)
    assert other_part(film[:200]) == other_part(jpeg(PICTURE)) == other_part(b"") == ""


# --- refused, with one line each -----------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "SR", "XA"])
def test_another_modality_is_refused(modality: str) -> None:
    assert error_of(dicom(Modality=modality)).startswith(f"modality {modality}, not a radiograph")


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG"])
def test_radiographs_are_read(modality: str) -> None:
    assert np.array_equal(decode_image(dicom(Modality=modality)), PICTURE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Modality": None}, "states no modality"),
        ({"PixelData": None}, "without an image (Computed Radiography Image Storage)"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw detector data"),
        ({"Rows": 65_000, "Columns": 65_000}, "more than 100 million"),
        ({"Rows": 6_000, "Columns": 6_000}, "truncated: 4,880 of 36,000,000 bytes"),
        ({"Rows": 0}, "no rows"),
        ({"Rows": None}, "no rows"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 of 32 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "1 of 1 bits"),
        ({"BitsStored": 12}, "12 of 8 bits"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": None}, "no photometric"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "slope is 0"),
        ({"WindowCenter": "9000", "WindowWidth": "10"}, "nothing to be seen"),
        ({"VOILUTSequence": look_up_table(b"", 0, 8, 256)}, "damaged"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason in error_of(dicom(**changes))


def test_a_picture_of_another_size_than_its_header_says_never_reaches_a_codec() -> None:
    other = np.zeros((640, 480), np.uint8)
    for syntax, frame in (
        (JPEGBaseline8Bit, jpeg(other)),
        (JPEG2000Lossless, jpeg_2000(other)),
        (JPEGLosslessSV1, jpeg_lossless(other, 8)),
    ):
        assert "80 x 61 pixels by its header, 480 x 640 by its picture" in error_of(
            dicom(PICTURE, syntax, frame=frame)
        )


@pytest.mark.parametrize("storage", LOSSLESS)
def test_a_truncated_file_is_refused_wherever_it_ends(storage: str) -> None:
    syntax, encode = LOSSLESS[storage]
    data = dicom(PICTURE, syntax, frame=encode(PICTURE, 8) if encode else None)
    for end in (140, 200, 300, len(data) // 2, len(data) - 300):
        if storage == "JPEG 2000" and end > len(data) // 3:
            continue  # layers: a part of the stream is a picture, too
        assert error_of(data[:end])


@pytest.mark.parametrize("storage", LOSSLESS)
def test_damaged_bytes_give_a_picture_or_a_reason(storage: str, capfd: pytest.CaptureFixture[str]) -> None:
    syntax, encode = LOSSLESS[storage]
    data = dicom(PICTURE, syntax, frame=encode(PICTURE, 8) if encode else None)
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        places = random.integers(132, len(data), 6)
        damaged[places] = random.integers(0, 256, 6)
        with contextlib.suppress(UnreadableImage):
            assert decode_image(damaged.tobytes()).dtype == np.uint8
    assert capfd.readouterr() == ("", "")


def test_nested_sequences_without_end_are_refused() -> None:
    start = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    head = dicom()[: dicom().index(struct.pack("<HH", 8, 0x16), 132)]
    assert error_of(head + (start + item) * 20_000)


def test_an_inflation_bomb_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom(syntax=DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr("pneumo_dicom.dicom._MAX_INFLATED", 2**20)
    assert np.array_equal(decode_image(data), PICTURE)
    packer = zlib.compressobj(wbits=-15)
    start = data.index(b"1.2.840.10008.1.2.1.99")
    head = data[: start + 22]
    bomb = head + packer.compress(bytes(2**24)) + packer.flush()
    assert "inflates to more than 1 MiB" in error_of(bomb)


def test_without_pydicom_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert error_of(dicom()) == f"a DICOM file: reading it needs {INSTALL}"


def test_without_a_codec_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import base

    data = dicom(syntax=JPEGLSLossless)
    monkeypatch.setattr(base.JPEGLSLosslessDecoder, "_available", {})
    assert error_of(data) == f"compressed as JPEG-LS, which needs: {INSTALL}"


def test_a_compression_that_nothing_reads_is_named() -> None:
    assert error_of(dicom(PICTURE, MPEG2MPML, frame=b"\0" * 64)).startswith("compressed as MPEG2")
    assert "JPEG Extended" in error_of(
        dicom(PICTURE.astype(np.uint16), JPEGExtended12Bit, bits=12, frame=jpeg_lossless(PICTURE, 12))
    )


def test_nothing_is_said_on_stderr_nor_warned_of(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    strange = dicom(WindowCenter="5", WindowWidth="0", PatientBirthDate="20200101")
    strange = strange.replace(b"20200101", b"no date!").replace(b"1.2.3\0", b"1.x.y\0")
    threads = [threading.Thread(target=decode_image, args=(strange,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(decode_image(strange), PICTURE)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    assert pixels._size_of_codestream(b"\xff\xd8\xff" + jpeg(PICTURE)[2:]) == PICTURE.shape


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("strip", [0, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_lossless_is_decoded_exactly(bits: int, strip: int, predictor: int) -> None:
    noise = np.random.default_rng(1).integers(0, 2**bits, (31, 20)).astype(np.uint16)
    noise[0, :4] = [0, 2 ** (bits - 1), 0, 2**bits - 1]  # 32,768 has a category of its own
    assert np.array_equal(
        decode_jpeg_lossless(jpeg_lossless(noise, bits, predictor=predictor, strip=strip)), noise
    )


def test_jpeg_lossless_is_decoded_across_the_parts_in_which_it_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jpeg_lossless_module, "_CHUNK", 7)
    assert np.array_equal(decode_jpeg_lossless(jpeg_lossless(PICTURE, 8)), PICTURE)


@pytest.mark.parametrize("predictor", [0, 3, 7])
def test_jpeg_lossless_with_another_predictor_is_refused(predictor: int) -> None:
    with pytest.raises(ValueError, match="predictor"):
        decode_jpeg_lossless(jpeg_lossless(PICTURE, 8, predictor=predictor))


# --- a real one ----------------------------------------------------------------------------------------------

REAL = Path(__file__).parents[4] / "shared" / "data" / "chest_xray"


@pytest.mark.real_data
def test_a_real_radiograph_gives_the_grey_levels_of_its_png() -> None:
    file = next(iter(sorted(REAL.rglob("*.jp*g"))), None)
    if file is None:
        pytest.skip(f"no real radiographs in {REAL}")
    picture = decode_image(file.read_bytes())
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        stored = 255 - picture if photometric == "MONOCHROME1" else picture
        for syntax, encode in LOSSLESS.values():
            frame = encode(stored, 8) if encode else None
            data = dicom(stored, syntax, frame=frame, PhotometricInterpretation=photometric)
            assert np.array_equal(decode_image(data), picture)
    deep = np.rint(picture / 255 * 4095).astype(np.uint16)
    windowed = dicom(deep, RLELossless, bits=12, WindowCenter="2048", WindowWidth="4096")
    assert np.array_equal(decode_image(windowed, 64), decode_image(dicom(picture), 64))
