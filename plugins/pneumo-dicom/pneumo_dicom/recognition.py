"""Whether a file is a DICOM file, told by its content and without pydicom."""

from __future__ import annotations

import re

MAGIC_AT = 128


def is_dicom(data: bytes) -> bool:
    """True where the content, not a name, is that of a DICOM file.

    ``DICM`` after a preamble of 128 bytes (PS3.10 7.1), or a file without a preamble that begins with the first
    element of a data set, as old archives wrote them. JPEG and PNG files are neither, whatever lies at byte 128.
    """
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return False
    if data[MAGIC_AT : MAGIC_AT + 4] == b"DICM":
        return True
    if len(data) < 12 or data[:2] not in (b"\x02\0", b"\x08\0") or data[3] != 0:
        return False
    explicit = re.fullmatch(rb"[A-Z]{2}", data[4:6]) is not None
    return explicit or int.from_bytes(data[4:8], "little") < 256
