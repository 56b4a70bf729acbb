"""Files that are not read: each is refused with one line that says why, and damaged bytes do no harm."""

from __future__ import annotations

import contextlib
import struct
import sys
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from dicom_files import IMAGE, LOSSLESS, dicom, jpeg, jpeg_2000, jpeg_lossless, lookup_table
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from pneumo_cli.data.decoding import decode_image
from pneumo_cli.errors import UnreadableImage
from pneumo_dicom import pixels
from pneumo_dicom.pixels import INSTALL


def error_of(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 160
    return text


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "MG", "SR", "XA"])
def test_another_modality_is_refused(modality: str) -> None:
    assert error_of(dicom(Modality=modality)).startswith(f"modality {modality}, not a radiograph")


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG"])
def test_radiographs_are_read(modality: str) -> None:
    assert np.array_equal(decode_image(dicom(Modality=modality)), IMAGE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Modality": None}, "without a modality"),
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
        ({"WindowCenter": "9000", "WindowWidth": "10"}, "maps all pixels to one gray level"),
        ({"VOILUTSequence": lookup_table(b"", 0, 8, 256)}, "damaged"),
    ],
)
def test_unsupported_files_are_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason in error_of(dicom(**changes))


def test_an_image_of_another_size_than_in_the_header_never_reaches_a_codec() -> None:
    other = np.zeros((640, 480), np.uint8)
    for syntax, frame in (
        (JPEGBaseline8Bit, jpeg(other)),
        (JPEG2000Lossless, jpeg_2000(other)),
        (JPEGLosslessSV1, jpeg_lossless(other, 8)),
    ):
        assert "80 x 61 pixels in its header, 480 x 640 in its image" in error_of(
            dicom(IMAGE, syntax, frame=frame)
        )


@pytest.mark.parametrize("storage", LOSSLESS)
def test_a_truncated_file_is_refused(storage: str) -> None:
    syntax, encode = LOSSLESS[storage]
    data = dicom(IMAGE, syntax, frame=encode(IMAGE, 8) if encode else None)
    for end in (140, 200, 300, len(data) // 2, len(data) - 300):
        if storage == "JPEG 2000" and end > len(data) // 3:
            continue  # its layers: the beginning of the stream is an image, too
        assert error_of(data[:end])


@pytest.mark.parametrize("storage", LOSSLESS)
def test_damaged_bytes_give_an_image_or_a_reason(storage: str, capfd: pytest.CaptureFixture[str]) -> None:
    syntax, encode = LOSSLESS[storage]
    data = dicom(IMAGE, syntax, frame=encode(IMAGE, 8) if encode else None)
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        places = random.integers(132, len(data), 6)
        damaged[places] = random.integers(0, 256, 6)
        with contextlib.suppress(UnreadableImage):
            assert decode_image(damaged.tobytes()).dtype == np.uint8
    assert capfd.readouterr() == ("", "")


def test_deeply_nested_sequences_are_refused() -> None:
    start = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    head = dicom()[: dicom().index(struct.pack("<HH", 8, 0x16), 132)]
    assert error_of(head + (start + item) * 20_000)


def test_an_inflation_bomb_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom(syntax=DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr("pneumo_dicom.dicom._MAX_INFLATED", 2**20)
    assert np.array_equal(decode_image(data), IMAGE)
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


def test_an_unsupported_compression_is_named() -> None:
    assert error_of(dicom(IMAGE, MPEG2MPML, frame=b"\0" * 64)).startswith("compressed as MPEG2")
    assert "JPEG Extended" in error_of(
        dicom(IMAGE.astype(np.uint16), JPEGExtended12Bit, bits=12, frame=jpeg_lossless(IMAGE, 12))
    )


def test_pydicom_prints_and_warns_of_nothing(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    strange = dicom(WindowCenter="5", WindowWidth="0", PatientBirthDate="20200101")
    strange = strange.replace(b"20200101", b"no date!").replace(b"1.2.3\0", b"1.x.y\0")
    threads = [threading.Thread(target=decode_image, args=(strange,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(decode_image(strange), IMAGE)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    assert pixels._codestream_size(b"\xff\xd8\xff" + jpeg(IMAGE)[2:]) == IMAGE.shape
