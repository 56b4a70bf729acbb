"""The figure files of a run folder, for both renderers.

A report names its figures by relative paths, some of them from plugins. Each path is checked: only PNG files inside
the run folder are shown.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from pathlib import Path

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG file as a ``data:`` URL; ``width`` and ``height`` are in pixels."""

    data: str
    width: int
    height: int


def inside(folder: Path, file: str) -> Path | None:
    """The file, if it is a PNG file inside the folder; None otherwise.

    Absolute paths, paths with ``..`` and links that lead out of the folder are rejected.
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
    """The file as a ``data:`` URL with its size; None where :func:`inside` gives None."""
    path = inside(folder, file)
    if path is None:
        return None
    content = path.read_bytes()
    if len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return Picture("data:image/png;base64," + base64.b64encode(content).decode("ascii"), width, height)
