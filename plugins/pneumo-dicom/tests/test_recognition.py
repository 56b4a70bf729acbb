"""Which files are DICOM files, and which part of the body their headers name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from dicom_files import IMAGE, dicom, jpeg
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumo_cli.data.decoding import decode_image
from pneumo_dicom.dicom import is_dicom, other_part


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_preamble_is_a_dicom_file(syntax: UID) -> None:
    data = dicom(syntax=syntax)
    meta = data.index(struct.pack("<HH", 8, 0x16), 132)
    for bare in (data[132:], data[meta:]):
        assert is_dicom(bare)
        assert np.array_equal(decode_image(bare), IMAGE)


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(300), jpeg(IMAGE), b"\x08\0 text that begins so"])
def test_other_files_are_not_dicom_files(data: bytes) -> None:
    assert not is_dicom(data)


def test_a_jpeg_file_that_contains_the_magic_bytes_stays_one() -> None:
    data = jpeg(IMAGE)
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 200) + bytes(104) + b"DICM" + bytes(92)
    marked = data[:20] + comment + data[20:]
    assert marked[128:132] == b"DICM"
    assert np.array_equal(decode_image(marked), decode_image(data))


@pytest.mark.parametrize(
    ("stated", "part"),
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
def test_a_body_part_is_named_if_it_is_clearly_not_the_chest(stated: str | None, part: str) -> None:
    data = dicom(**({} if stated is None else {"BodyPartExamined": stated}))
    assert other_part(data) == part
    assert np.array_equal(decode_image(data), IMAGE)
    assert other_part(data[:200]) == other_part(jpeg(IMAGE)) == other_part(b"") == ""
