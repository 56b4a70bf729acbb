"""The table of image formats that plugins decode, as Pillow has one: one for the process, filled by discovery.

Imports neither numpy nor a decoder: whoever decodes loads the one whose format a file is of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pneumo_cli.specs import MAGIC_BYTES, DecoderSpec, load_reference

_BUILT_IN = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class _Elsewhere(NamedTuple):
    """A format that people have and the core does not read: its files are found, and what reads them is named."""

    name: str
    title: str
    suffixes: tuple[str, ...]
    magic: tuple[int, bytes]
    distribution: str


_ELSEWHERE = (_Elsewhere("dicom", "a DICOM file", (".dcm", ".dicom"), (128, b"DICM"), "pneumo-dicom"),)

_registered: tuple[DecoderSpec, ...] = ()


def replace(specs: Iterable[DecoderSpec]) -> None:
    """Let these be the formats that plugins decode. Of two that know a file the first one decodes it."""
    global _registered
    _registered = tuple(specs)


def suffixes() -> tuple[str, ...]:
    """The suffixes of formats that plugins decode, or could, in lower case."""
    known = [spec.suffixes for spec in _registered] + [one.suffixes for one in _ELSEWHERE]
    return tuple(dict.fromkeys(suffix for some in known for suffix in some))


def titles() -> tuple[str, ...]:
    """What the registered formats are called in a message."""
    return tuple(spec.name.upper() for spec in _registered)


def find(data: bytes) -> DecoderSpec | None:
    """The format of a file by its content; None where it is none of the registered ones.

    Args:
        data: all of it, or its first :data:`~pneumo_cli.specs.MAGIC_BYTES` bytes.
    """
    start = data[:MAGIC_BYTES]
    if start.startswith(_BUILT_IN):  # whatever lies at byte 128 of a JPEG file
        return None
    for spec in _registered:
        if spec.begins(start) and (not spec.recognize or load_reference(spec.recognize)(data)):
            return spec
    return None


def what_is_missing(data: bytes) -> str:
    """What to install for a file of a known format that nothing here decodes; empty where that is not so."""
    here = {spec.name for spec in _registered}
    for one in _ELSEWHERE:
        place, known = one.magic
        if one.name not in here and data[place : place + len(known)] == known:
            return f"{one.title}: pip install {one.distribution} to read it"
    return ""
