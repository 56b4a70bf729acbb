"""Detection of DICOM files by their content, without pydicom."""

from __future__ import annotations

import re

MAGIC_AT = 128


def is_dicom(data: bytes) -> bool:
    """Whether the content is that of a DICOM file.

    That is ``DICM`` after a preamble of 128 bytes (PS3.10 7.1) or, as in old archives without a preamble, the first
    element of a data set. JPEG and PNG files are never DICOM files, whatever their byte 128.
    """
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return False
    if data[MAGIC_AT : MAGIC_AT + 4] == b"DICM":
        return True
    if len(data) < 12 or data[:2] not in (b"\x02\0", b"\x08\0") or data[3] != 0:
        return False
    explicit = re.fullmatch(rb"[A-Z]{2}", data[4:6]) is not None
    return explicit or int.from_bytes(data[4:8], "little") < 256
