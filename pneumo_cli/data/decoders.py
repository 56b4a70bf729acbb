"""Process-wide table of the image formats that plugins decode, filled by discovery.

Imports neither NumPy nor a decoder; a decoder is loaded when a file of its format is decoded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pneumo_cli.data.formats import SUFFIXES
from pneumo_cli.installation import pip_install
from pneumo_cli.specs import MAGIC_BYTES, DecoderSpec, load_reference

_BUILT_IN = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class _Elsewhere(NamedTuple):
    """A known format that the core does not read: its files are found, and errors name the plugin to install."""

    name: str
    title: str
    suffixes: tuple[str, ...]
    magic: tuple[int, bytes]
    distribution: str


_ELSEWHERE = (_Elsewhere("dicom", "a DICOM file", (".dcm", ".dicom"), (128, b"DICM"), "pneumo-dicom"),)

_registered: tuple[DecoderSpec, ...] = ()
_origins: Mapping[str, str] = {}
_failing: set[str] = set()  # references that have been named in a warning
_suffixes: tuple[tuple[DecoderSpec, ...] | None, tuple[str, ...]] = (None, ())  # of the registered ones


def replace(specs: Iterable[DecoderSpec], origins: Mapping[str, str] = {}) -> None:
    """Set the formats that plugins decode; where two recognize a file the first one decodes it.

    Args:
        origins: distribution and version by the name of a decoder, for messages.
    """
    global _registered, _origins
    _registered, _origins = tuple(specs), origins
    _failing.clear()


def title(spec: DecoderSpec) -> str:
    """What to call a decoder in messages: ``decoder nifti (pneumo-nifti 1.0)``."""
    origin = _origins.get(spec.name)
    return f"decoder {spec.name}" + (f" ({origin})" if origin else "")


def suffixes() -> tuple[str, ...]:
    """Lower-case suffixes of the formats that installed or known plugins decode."""
    global _suffixes
    if _suffixes[0] is not _registered:  # it is asked for each file
        known = [spec.suffixes for spec in _registered] + [one.suffixes for one in _ELSEWHERE]
        _suffixes = _registered, tuple(dict.fromkeys(suffix for each in known for suffix in each))
    return _suffixes[1]


def titles() -> tuple[str, ...]:
    """Names of the registered formats for messages."""
    return tuple(spec.name.upper() for spec in _registered)


def find(data: bytes) -> DecoderSpec | None:
    """The registered format of a file by its content, if any.

    Args:
        data: the whole content, or its first :data:`~pneumo_cli.specs.MAGIC_BYTES` bytes.
    """
    start = data[:MAGIC_BYTES]
    if start.startswith(_BUILT_IN):  # whatever bytes follow
        return None
    for spec in _registered:
        if spec.begins(start) and _recognizes(spec, data):
            return spec
    return None


def _recognizes(spec: DecoderSpec, data: bytes) -> bool:
    """Whether a decoder takes a file with its magic bytes. One that raises does not, and is named once."""
    if not spec.recognize:
        return True
    try:
        return bool(load_reference(spec.recognize)(data))
    except Exception as error:
        if spec.recognize not in _failing:
            _failing.add(spec.recognize)
            text = " ".join(f"{type(error).__name__}: {error}".split())
            logging.getLogger("pneumo").warning("%s failed in %s: %s", title(spec), spec.recognize, text)
        return False


def modules_for(names: Iterable[str]) -> tuple[str, ...]:
    """The modules of the decoders that may decode files of these names."""
    if all(suffix in SUFFIXES for suffix in {name[name.rfind(".") :].lower() for name in names}):
        return ()
    return tuple(spec.decode.partition(":")[0] for spec in _registered)


def what_is_missing(data: bytes) -> str:
    """What to install for a file of a known format without a registered decoder; else empty."""
    if data.startswith(_BUILT_IN):
        return ""
    registered = {spec.name for spec in _registered}
    for one in _ELSEWHERE:
        offset, magic = one.magic
        if one.name not in registered and data[offset:].startswith(magic):
            return f"{one.title}: {pip_install(one.distribution)} to read it"
    return ""
