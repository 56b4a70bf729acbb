"""One array in one file that can be trusted: written whole or not at all, described, checksummed, mapped.

Beside the array lies a manifest (``.json``) that says what it is; it is written after it. What the arrays mean is
for their users to say (:mod:`pneumo_cli.data.cache`, :mod:`pneumo_cli.data.feature_cache`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumo_cli.errors import UsageError
from pneumo_cli.runtime import atomic

_DAY = 86_400.0
Array = np.memmap[Any, np.dtype[Any]]


class DamagedArrayError(Exception):
    """An array file is not what it should be; the message says what is wrong."""


def manifest_path(path: Path) -> Path:
    """Where the manifest of an array file lies."""
    return path.with_suffix(".json")


def open_array(path: Path, identity: Mapping[str, Any]) -> tuple[Array, dict[str, Any]] | None:
    """Open an array, checked, and its manifest; None where there is none, or one of another identity.

    Args:
        identity: what the array has to be, ``shape`` and ``dtype`` (of NumPy) among it.

    Raises:
        DamagedArrayError: it is not what its manifest says.
    """
    try:
        manifest = json.loads(manifest_path(path).read_bytes())
        digest = manifest["sha256"]  # every format has it
        if {key: manifest.get(key) for key in identity} != dict(identity):
            return None  # an older format, which is no damage
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DamagedArrayError("the manifest cannot be read") from None
    shape, dtype = tuple(identity["shape"]), np.dtype(identity["dtype"])
    try:
        with path.open("rb") as handle:
            # Mapped before it is checked, so that what was checked is what is used.
            if path.stat().st_size != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
                raise DamagedArrayError("the file has the wrong length")
            array = np.memmap(handle, dtype, "r", shape=shape)
            handle.seek(0)  # mapping has moved it
            if hashlib.file_digest(handle, "sha256").hexdigest() != digest:
                raise DamagedArrayError("the checksum differs")
    except (OSError, ValueError) as error:
        raise DamagedArrayError(str(error)) from None
    return array, manifest


def write_array(
    path: Path,
    identity: Mapping[str, Any],
    blocks: Iterable[bytes | memoryview],
    facts: Callable[[], Mapping[str, Any]] = dict,
) -> Array:
    """Write an array from consecutive blocks of its bytes, and its manifest; return it mapped.

    Args:
        identity: as :func:`open_array` will ask for it.
        facts: what else the manifest holds, asked for when the last block is written.

    Raises:
        OSError: it cannot be written. Nothing is left behind, nor is it when ``blocks`` raises.
    """
    digest = hashlib.sha256()
    # Written block by block rather than through the mapping: a disk that fills up is then an error that can be
    # reported, and not a bus error that kills the process.
    with atomic.replace_file(path) as handle:
        for block in blocks:
            handle.write(block)
            digest.update(block)
    try:
        atomic.write_json(manifest_path(path), {**identity, **facts(), "sha256": digest.hexdigest()})
    except BaseException:
        path.unlink(missing_ok=True)  # without its manifest it would only take room
        raise
    return np.memmap(path, np.dtype(identity["dtype"]), "r", shape=tuple(identity["shape"]))


def prepare_folder(folder: Path) -> None:
    """Make a folder of caches, and remove what killed processes left in its neighbours more than a day ago.

    Raises:
        UsageError: the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        leftovers = list(folder.parent.glob(f"*/.*{atomic.TEMPORARY_SUFFIX}"))
    except OSError as error:
        raise unusable(folder, error) from None
    for file in leftovers:
        try:
            if time.time() - file.stat().st_mtime > _DAY:
                file.unlink()
        except OSError:  # another process was faster, or owns it
            continue


def unusable(folder: Path, error: OSError) -> UsageError:
    """What to say of a cache folder that cannot be used."""
    return UsageError(
        f"the cache folder {folder} cannot be used: {error.strerror}; --cache or PNEUMO_CACHE names another one"
    )
