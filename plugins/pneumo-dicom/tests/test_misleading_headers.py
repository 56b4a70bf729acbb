"""Headers that leave little of the image if they are taken at their word: read as they are meant, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import IMAGE, LOSSLESS, dicom, jpeg, jpeg_2000, lookup_table, text_element
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGBaseline8Bit

from pneumo_cli.data import FileDataset, ImageFiles, Record, decode
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.runtime.progress import Progress

DEEP = np.rint(IMAGE / 255 * 4095).astype(np.uint16)
"""The image in 12 bits."""
STORAGES = [name for name in LOSSLESS if name not in ("JPEG 2000", "JPEG lossless")]


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def difference(data: bytes, expected: np.ndarray = IMAGE) -> int:
    return int(np.abs(decode(data).astype(int) - expected).max())


def windowed(center: str, width: str, values: np.ndarray = DEEP, bits: int = 12, **changes: Any) -> bytes:
    data = text_element(dicom(values, bits=bits, **changes), 0x00281050, center)
    return text_element(data, 0x00281051, width)


# --- lookup tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [12, 16])
@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_only_entries_for_possible_values_are_the_range_of_a_table(name: str, stored: int) -> None:
    table = np.arange(2**16).astype("<u2").tobytes()  # of the storage, not of the image
    assert difference(dicom(DEEP, bits=stored, **{name: lookup_table(table, 0, 16, 0)})) <= 1


def test_a_dark_image_stays_dark_behind_a_table() -> None:
    table = lookup_table(list(range(4096)), 0, 12)
    assert difference(dicom(DEEP // 8, bits=12, VOILUTSequence=table), IMAGE / 8) <= 1


def test_a_first_value_above_32767_may_be_read_as_negative() -> None:
    table = lookup_table(list(range(4096)), 40_000 - 2**16, 12)
    assert difference(dicom((DEEP + 40_000).astype(np.uint16), VOILUTSequence=table)) <= 1


def test_a_table_that_leaves_two_gray_levels_is_refused() -> None:
    table = lookup_table([0] * 2048 + [4095] * 2048, 0, 12)
    assert "to 2 gray levels" in reason(dicom(DEEP, bits=12, VOILUTSequence=table))


# --- windows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [("32768", "65536"), ("8192", "16384"), ("2048", "1e30")])
def test_a_window_as_wide_as_the_storage_is_none(center: str, width: str, function: str) -> None:
    for bits in (12, 16):
        assert difference(windowed(center, width, bits=bits, VOILUTFunction=function)) <= 1
    rescaled = windowed(center, width, RescaleSlope="0.5", RescaleIntercept="-100", VOILUTFunction=function)
    assert difference(rescaled) <= 1


def test_a_window_of_the_stated_bits_keeps_a_dark_image_dark() -> None:
    assert difference(windowed("2048", "4096", DEEP // 8), IMAGE / 8) <= 1
    assert difference(windowed("4096", "8192"), IMAGE / 2) <= 1


@pytest.mark.parametrize(
    ("center", "width"), [("2048", "1"), ("2048", "2"), ("40", "400"), ("127", "256"), ("-500", "1500")]
)
def test_a_window_that_leaves_next_to_nothing_is_refused(center: str, width: str) -> None:
    noise = np.random.default_rng(0).integers(-90, 90, DEEP.shape)
    noisy = np.clip(DEEP + noise, 0, 4095).astype(np.uint16)
    for values in (DEEP, noisy, np.clip(noisy, 300, 4000)):
        assert "its window" in reason(windowed(center, width, values))


def test_a_background_that_is_black_is_not_counted_as_lost() -> None:
    values = np.where(np.arange(80) < 76, 0, DEEP).astype(np.uint16)
    expected = np.clip((values - 1500.0) / 2000 * 255, 0, 255)
    assert difference(windowed("2500", "2000", values), expected) <= 1


# --- values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
def test_words_in_the_wrong_order_of_bytes_are_put_right(storage: str) -> None:
    noise = np.random.default_rng(2).integers(-60, 60, DEEP.shape)
    noisy = np.clip(DEEP + noise, 0, 4095).astype(np.uint16)
    for values in (DEEP, noisy):
        for bits, high in ((12, 11), (16, 15)):
            data = dicom(values.byteswap(), LOSSLESS[storage][0], BitsStored=bits, HighBit=high)
            assert difference(data, values / 4095 * 255) <= 1


@pytest.mark.parametrize("stored", [1, 4, 7])
def test_fewer_bits_than_a_radiograph_has_are_a_slip(stored: int) -> None:
    assert difference(dicom(DEEP, BitsStored=stored, HighBit=stored - 1)) <= 1
    few = IMAGE >> (8 - stored)
    assert difference(dicom(few, bits=stored), few / (2**stored - 1) * 255) <= 1


def test_values_just_above_the_stored_bits_are_white() -> None:
    """As lossy compression makes of white."""
    values = DEEP.copy()
    values[DEEP > 4080] += 12
    assert difference(dicom(values, BitsStored=12, HighBit=11)) <= 1


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_text_at_the_top_of_the_storage_is_white(kind: type) -> None:
    values = DEEP.astype(kind)
    values[:3, :20] = np.iinfo(kind).max
    expected = IMAGE.copy()
    expected[:3, :20] = 255
    assert difference(dicom(values), expected) <= 1


@pytest.mark.parametrize("offset", [32_768, -1024])
def test_values_that_would_become_few_gray_levels_are_refused(offset: int) -> None:
    values = ((DEEP.astype(int) + offset) % 2**16).astype(np.uint16)
    assert "gray levels" in reason(dicom(values))


@pytest.mark.parametrize("highest", [4095, 2000, 900])
def test_12_bits_in_16_are_scaled_as_in_every_container(highest: int) -> None:
    values = np.rint(IMAGE / 255 * highest).astype(np.uint16)
    expected = IMAGE * (highest / (1023 if highest < 1024 else 4095))
    assert difference(dicom(values), expected) <= 1


# --- streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stated", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_422"]
)
def test_the_colours_of_a_stream_count_more_than_those_of_the_header(stated: str) -> None:
    gray = np.stack([IMAGE] * 3, axis=-1)
    data = dicom(gray, JPEGBaseline8Bit, frame=jpeg(gray), PhotometricInterpretation=stated)
    assert difference(data) <= 4
    if stated in ("RGB", "YBR_FULL", "YBR_RCT"):
        frame = jpeg_2000(gray)
        assert difference(dicom(gray, JPEG2000Lossless, frame=frame, PhotometricInterpretation=stated)) <= 2


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_a_jpeg_that_was_cut_off_and_closed_is_refused(share: float) -> None:
    frame = jpeg(IMAGE)
    frame = frame[: int(share * len(frame))] + b"\xff\xd9"
    assert "a truncated JPEG" in reason(dicom(IMAGE, JPEGBaseline8Bit, frame=frame))


def test_an_empty_element_of_pixels_is_no_image() -> None:
    assert "without an image" in reason(dicom(DEEP, bits=12, PixelData=b""))
    assert "without an image" in reason(dicom(DEEP, ExplicitVRBigEndian, bits=12, PixelData=b""))


def test_a_broken_table_is_refused_also_if_another_follows() -> None:
    good = lookup_table(list(range(4096)), 0, 12)[0]
    bad = lookup_table(list(range(4096)), 0, 12)[0]
    del bad.LUTData
    assert difference(dicom(DEEP, bits=12, VOILUTSequence=Sequence([good, bad]))) <= 1
    assert "a lookup table without" in reason(dicom(DEEP, bits=12, VOILUTSequence=Sequence([bad, good])))


# --- datasets ------------------------------------------------------------------------------------------------


class Films(FileDataset):
    name = "films"
    classes = ("one", "other")

    def __init__(self, root: Path, cache: Path) -> None:
        super().__init__(ImageFiles(root), cache, Progress())
        names = self.files.names()
        digests = self.digests(names)
        self.records = [Record(name, 0, name, "train", digests[name]) for name in names]
        self.paths = {name: name for name in names}


def test_files_of_a_dataset_that_state_no_depth_are_scaled_alike(tmp_path: Path) -> None:
    root = tmp_path / "films"
    root.mkdir()
    padded = DEEP // 8 + 10
    padded[:, :9] = 65_000
    inverted = 4095 - DEEP
    for name, data in {
        "bright": dicom(DEEP),
        "dark": dicom(DEEP // 8),  # alone it would be taken as 10 bits
        "signed": dicom((DEEP // 8).astype(np.int16)),
        "padded": dicom(padded, PixelPaddingValue=65_000),
        "inverted": dicom(inverted, PhotometricInterpretation="MONOCHROME1"),
        "stated": dicom(DEEP, bits=12),
        "windowed": windowed("256", "512", DEEP // 8, 16),
        "colour": dicom(np.stack([IMAGE] * 3, -1)),
        "damaged": dicom(DEEP)[:3000],
    }.items():
        (root / f"{name}.dcm").write_bytes(data)
    films = Films(root, tmp_path / "cache")
    assert films.gray_scaling == "16-bit files scaled as 12 bits (largest value 4,095)"
    levels = {
        record.name[:-4]: films.read(record) for record in films.records if "damaged" not in record.name
    }
    for name in ("bright", "inverted", "stated", "colour", "windowed"):
        assert np.abs(levels[name].astype(int) - IMAGE).max() <= 2, name
    for name in ("dark", "signed"):
        assert np.abs(levels[name] - IMAGE / 8).max() <= 1, name
    assert not levels["padded"][:, :9].any()
    assert np.abs(levels["padded"][:, 9:] - IMAGE[:, 9:] / 8).max() <= 2
