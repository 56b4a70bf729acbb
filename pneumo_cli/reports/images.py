"""The picture files of a run folder, as the two renderers may use them.

A report names its figures by relative paths. They come from plugins too, so a path is looked at before it is
followed: only PNG files that lie within the run folder are shown.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG file, ready to stand in a page. ``width`` and ``height`` are in pixels."""

    data: str
    width: int
    height: int


def inside(folder: Path, file: str) -> Path | None:
    """The file, if it is a PNG file that truly lies within the folder; None otherwise.

    Absolute paths, paths with ``..`` and links that lead out of the folder are refused.
    """
    try:
        path = (folder / file).resolve(strict=True)
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        with path.open("rb") as stream:
            return path if stream.read(len(_PNG)) == _PNG else None
    except (OSError, ValueError):
        return None


def embedded(folder: Path, file: str) -> Picture | None:
    """The file as a ``data:`` address with its size, or None as :func:`inside`."""
    path = inside(folder, file)
    if path is None:
        return None
    content = path.read_bytes()
    if len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return Picture("data:image/png;base64," + base64.b64encode(content).decode("ascii"), width, height)
