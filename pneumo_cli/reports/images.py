"""The figure files of a run folder, for both renderers.

A report names its figures by relative paths, some of them from plugins. Each path is checked: only PNG files inside
the run folder are shown. In a page they are embedded as WebP where that is smaller: a run's files stay PNG.
"""

from __future__ import annotations

import base64
import io
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.reports.figures.line_data import KEY, checked

if TYPE_CHECKING:
    from PIL.Image import Image as Opened

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1728
"""Pixels across: twice the width at which a page shows its widest figures."""
_SMALL = 12_000
"""Bytes of a file that is embedded as it is."""
_MOST_PIXELS = 40e6
_PHOTOGRAPH = 0.3
"""Bytes per pixel of a PNG file from which on it holds radiographs and no drawing."""
_LOSSLESS: dict[str, Any] = {"lossless": True, "quality": 10, "method": 1}
_LOSSY: dict[str, Any] = {"quality": 85, "method": 2}


@dataclass(frozen=True)
class Picture:
    """A figure as a ``data:`` URL; ``width`` and ``height`` are in pixels, of the file.

    Attributes:
        lines: its values, as :func:`pneumo_cli.reports.figures.line_data.line_data` gives them, or empty.
        animation: a ``data:`` URL with all frames if it is animated; ``data`` is then the last one.
    """

    data: str
    width: int
    height: int
    lines: str = ""
    animation: str = ""


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
    """The file as ``data:`` URLs with its size and values; None where :func:`inside` gives None."""
    path = inside(folder, file)
    if path is None:
        return None
    content = path.read_bytes()
    if len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    plain = Picture(_url("png", content), width, height)
    if not 0 < width * height <= _MOST_PIXELS:
        return plain
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as opened:
            lines = checked(opened.info.get(KEY))
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                if frames * width * height <= _MOST_PIXELS:
                    opened.seek(frames - 1)
                return replace(plain, data=_url("webp", _webp(opened, **_LOSSLESS)), animation=plain.data)
            if len(content) <= _SMALL:
                return replace(plain, lines=lines)
            photograph = len(content) / (width * height) > _PHOTOGRAPH
            smaller = _webp(opened, **(_LOSSY if photograph else _LOSSLESS))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return plain  # damaged, or Pillow without WebP: what the browser makes of it
    data = _url("webp", smaller) if len(smaller) < len(content) else plain.data
    return replace(plain, data=data, lines=lines)


def _webp(opened: Opened, **options: Any) -> bytes:
    """A picture as WebP, no wider than it is shown on a fine screen."""
    clear = opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info
    picture = opened.convert("RGBA" if clear else "RGB")
    if picture.width > _LARGEST:
        picture = picture.resize((_LARGEST, max(1, round(picture.height * _LARGEST / picture.width))))
    stream = io.BytesIO()
    picture.save(stream, format="webp", **options)
    return stream.getvalue()


def _url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
