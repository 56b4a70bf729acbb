"""One array per file: written atomically, described by a manifest, checksummed, memory-mapped.

The manifest (``.json``) is written after the array, in the same folder. Used by :mod:`pneumo_cli.data.cache` and
:mod:`pneumo_cli.data.feature_cache`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime import atomic

_DAY = 86_400.0
_log = logging.getLogger("pneumo")
Array = np.memmap[Any, np.dtype[Any]]


class DamagedArrayError(Exception):
    """An array file differs from its manifest, or has an unreadable one; the message says how."""


def manifest_path(path: Path) -> Path:
    """The path of an array file's manifest."""
    return path.with_suffix(".json")


def open_array(path: Path, identity: Mapping[str, Any]) -> tuple[Array, dict[str, Any]] | None:
    """Open and verify an array and its manifest; None where there is none, or one of another identity.

    Args:
        identity: required entries of the manifest, with ``shape`` and (NumPy) ``dtype``.

    Raises:
        DamagedArrayError: the array differs from its manifest.
    """
    try:
        manifest = json.loads(manifest_path(path).read_bytes())
        digest = manifest["sha256"]  # part of every format
        if {key: manifest.get(key) for key in identity} != dict(identity):
            return None  # an older format is not damage
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DamagedArrayError("the manifest cannot be read") from None
    shape, dtype = tuple(identity["shape"]), np.dtype(identity["dtype"])
    try:
        with path.open("rb") as handle:
            # Mapped before the check, so that the bytes checked are the bytes used.
            if path.stat().st_size != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
                raise DamagedArrayError("the file has the wrong length")
            array = np.memmap(handle, dtype, "r", shape=shape)
            handle.seek(0)  # mapping has moved the position
            if hashlib.file_digest(handle, "sha256").hexdigest() != digest:
                raise DamagedArrayError("the checksum differs")
    except (OSError, ValueError) as error:
        raise DamagedArrayError(str(error)) from None
    return array, manifest


@contextmanager
def damage_is_warned_of(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Turn the damage of an array that can be made again into a warning, and leave the block.

    Args:
        what: the array is of: ``decoded images``.
        remedy: what is done about it: ``decoding them again``.
    """
    try:
        yield
    except DamagedArrayError as damage:
        _log.warning("the %s in %s are damaged (%s): %s", what, path, damage, remedy)


def write_array(
    path: Path,
    identity: Mapping[str, Any],
    blocks: Iterable[bytes | memoryview],
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> tuple[Array, dict[str, Any]]:
    """Write an array from consecutive blocks of its bytes, and its manifest; return both, the array memory-mapped.

    Args:
        identity: as given to :func:`open_array` later.
        facts: returns further entries of the manifest; called after the last block.

    Raises:
        OSError: it cannot be written. Nothing is left behind, also when ``blocks`` raises.
    """
    digest = hashlib.sha256()
    # Not written through the mapping, where a full disk would be a bus error that kills the process.
    with atomic.replace_file(path) as handle:
        for block in blocks:
            handle.write(block)
            digest.update(block)
    try:
        manifest = {**identity, **facts(), "sha256": digest.hexdigest()}
        atomic.write_json(manifest_path(path), manifest)
    except BaseException:
        path.unlink(missing_ok=True)  # useless without its manifest
        raise
    return np.memmap(path, np.dtype(identity["dtype"]), "r", shape=tuple(identity["shape"])), manifest


def prepare_folder(folder: Path) -> None:
    """Create a cache folder; remove temporary files older than a day from it and its sibling folders.

    Raises:
        UsageError: the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        leftovers = list(folder.parent.glob(f"*/.*{atomic.TEMPORARY_SUFFIX}"))
    except OSError as error:
        raise _unusable(folder, error) from None
    for file in leftovers:
        try:
            if time.time() - file.stat().st_mtime > _DAY:
                file.unlink()
        except OSError:  # removed or owned by another process
            continue


@contextmanager
def disk_errors(what: str, size: int, folder: Path, advice: str = "") -> Iterator[None]:
    """Turn failures to write ``size`` bytes of a cache into a UsageError (no permission) or a PneumoError."""
    try:
        yield
    except PermissionError as error:
        raise _unusable(folder, error) from None
    except OSError as error:
        raise PneumoError(
            f"cannot write {what} ({size / 2**20:,.0f} MiB) to {folder}: {error.strerror}; free some space or "
            f"choose another cache folder{advice}"
        ) from error


def _unusable(folder: Path, error: OSError) -> UsageError:
    advice = "choose another one with --cache or PNEUMO_CACHE"
    return UsageError(f"the cache folder {folder} cannot be used: {error.strerror}; {advice}")
