"""Atomic file writes: a reader sees the old content or the new, never a part of either.

A file is written under a temporary name in the folder of its target, flushed to disk and renamed; the rename is
flushed too. Not for files that grow line by line (logs, metrics): those are appended to.

Disk errors (full, read-only, no permission) are raised as ``OSError`` after the temporary file is removed; the
caller knows what the file was for and reports it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"
"""Suffix of unfinished files, whose names begin with a dot. A killed process may leave one behind."""


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a handle, open for reading and writing, whose content replaces ``path`` when the block succeeds.

    Missing folders are created. If the block raises (KeyboardInterrupt included), ``path`` is unchanged and the
    temporary file is removed.

    Raises:
        OSError: the folder cannot be created or written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        # Not tempfile, whose files only their owner may read: a shared result has to follow the umask.
        with temporary.open("x+b") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Check that a folder, which need not exist yet, can be written to; leaves nothing behind.

    Permission bits are not enough: an administrator has them all, even on a read-only file system.

    Raises:
        OSError: it cannot be written to.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".pneumo-{secrets.token_hex(4)}"
    probe.mkdir()
    probe.rmdir()


def flush_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power failure, where the system supports it."""
    if os.name == "nt":  # folders cannot be opened there; NTFS journals its renames
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` as the whole content of ``path``. Raises OSError as :func:`replace_file` does."""
    with replace_file(path) as handle:
        handle.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; line ends are not converted.

    In the C locale paths may hold undecoded bytes (``surrogateescape``): those that are UTF-8 are written so.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline.

    Raises:
        ValueError: the value holds a NaN or an infinity, which JSON lacks. Nothing is written.
        TypeError: the value holds something that is not JSON. Nothing is written.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def file_stem(name: str) -> str:
    """A plugin's name for something (a metric, a dataset) as a part of a file's name.

    >>> file_stem("dice/left lung"), file_stem("../../x"), file_stem("auc")
    ('dice-left-lung', 'x', 'auc')
    """
    return re.sub(r"[^\w.-]+", "-", name)[:100].strip(".-") or "unnamed"
