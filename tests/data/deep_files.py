"""Gray values in 16-bit files, with what they state of their depth."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, *, significant: int | None = None, colour: int = 0) -> bytes:
    """A PNG of 16 bits; ``significant``: its chunk sBIT; ``colour``: 2 RGB, 4 with transparency, 6 both."""
    height, width, *channels = values.shape
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    if significant is not None:
        data += chunk(b"sBIT", bytes([significant] * (channels[0] if channels else 1)))
    rows = values.astype(">u2").reshape(height, -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    return data + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def tiff(values: np.ndarray, *, highest: int | None = None, zero_is_white: bool = False) -> bytes:
    """A TIFF of 16 bits; ``highest``: its tag MaxSampleValue."""
    buffer = io.BytesIO()
    tags = {281: highest} if highest is not None else {}
    Image.fromarray(values.astype(np.uint16)).save(buffer, "TIFF", tiffinfo=tags)
    data = buffer.getvalue()
    if zero_is_white:
        place = data.index(struct.pack("<HHI", 262, 3, 1))
        data = data[: place + 8] + struct.pack("<I", 0) + data[place + 12 :]
    return data


def pgm(values: np.ndarray, white: int = 65_535) -> bytes:
    height, width = values.shape
    head = f"P5\n# made for a test\n{width} {height}\n{white}\n"
    return head.encode() + values.astype(">u2" if white > 255 else "u1").tobytes()


WRITERS: dict[str, Callable[[np.ndarray], bytes]] = {"PNG": png, "TIFF": tiff, "PGM": pgm}
