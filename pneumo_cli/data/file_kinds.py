"""What a file is, by its name, and where that does not tell by its first bytes: an image, or something else.

One rule for the folders that ``pneumo predict`` searches and for the files below a dataset's root.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath

from pneumo_cli.data import decoders, formats
from pneumo_cli.data.formats import SUFFIXES

ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
"""Suffixes of archives, in lower case. Only a zip archive that is a dataset's root itself is opened."""

_CLUTTER = frozenset(
    re.findall(
        r"\.\w+",
        """
        .txt .csv .tsv .json .jsonl .xml .html .htm .css .js .md .rst .pdf .log .ini .cfg .toml .yaml .yml .db
        .sqlite .lnk .url .py .pyc .ipynb .sh .bat .r .m .mat .doc .docx .xls .xlsx .ppt .pptx .odt .ods .parquet
        .pkl .pt .pth .onnx .h5 .hdf5 .sha256 .md5
        """,
    )
)
"""Suffixes of files that accompany images and are none, whatever they begin with."""


def image_suffixes() -> tuple[str, ...]:
    """Lower-case suffixes of the formats that can be decoded: built-in ones, and those of plugins (DICOM)."""
    return (*SUFFIXES, *decoders.suffixes())


def is_image(name: str) -> bool:
    """Whether a name has the suffix of a format that can be decoded."""
    return name.lower().endswith(image_suffixes())


def tells_by_content(path: PurePath) -> bool:
    """Whether neither the suffix nor the name of a file tells what it is."""
    suffix = path.suffix.lower()
    known = suffix in _CLUTTER | ARCHIVES or formats.unread_suffix(path.name.lower()) != ("", "")
    return not known and not is_image(path.name) and path.name != "DICOMDIR"  # an index of DICOM files


def begins_as_image(start: bytes) -> bool:
    """Whether the first :data:`~pneumo_cli.specs.MAGIC_BYTES` bytes are those of a format that can be decoded."""
    return bool(decoders.find(start) or decoders.what_is_missing(start) or formats.built_in(start))


def kind_of(path: PurePath, start: Callable[[], bytes | None]) -> tuple[str, bool]:
    """The kind of a file that is no image, and whether it holds images, or may do so.

    Args:
        start: reads the first bytes; None: it cannot be opened. Called only where the name does not tell.

    Returns:
        such as ``.txt``, ``.zip (an archive)`` or ``.heic (HEIF, which is not read)``.
    """
    name, suffix = path.name.lower(), path.suffix.lower()
    shown, title = formats.unread_suffix(name)
    if title:
        return f"{shown} ({title}, which is not read)", True
    if suffix in ARCHIVES:
        return f"{suffix} (an archive)", True
    if not tells_by_content(path):
        return suffix or path.name, False
    shown = suffix if suffix and not suffix[1:].isdecimal() else "without a suffix"
    content = start()
    if content is None:
        return f"{shown} (cannot be opened)", True
    title = formats.unread(content)
    if title:
        return f"{shown} ({'an archive' if title == 'archive' else f'{title}, which is not read'})", True
    return shown, begins_as_image(content)
