"""Files that are either whole or not there: a reader sees the old content or the new, whatever happens.

A file is written under a temporary name beside its target, flushed to the disk, renamed, and the rename
itself is flushed. Not for files that grow line by line (logs, metrics): those are appended to.

Failures of the disk (full, read-only, no permission) arrive as the ``OSError`` that they are, after the
temporary file is gone; the caller knows what the file was for and says so.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_SUFFIX = ".tmp"
"""How the names of unfinished files end; they begin with a dot. A killed process may leave one behind."""


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a handle, open for writing and reading, whose content becomes ``path`` when the block ends well.

    Missing folders are made. If the block raises (KeyboardInterrupt included), ``path`` stays as it was and
    the temporary file is removed.

    Raises:
        OSError: the folder cannot be made or written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    try:
        # Not tempfile: its files are private to the user, and a shared result has to follow the umask.
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
    """Find out whether a folder that may not be there yet could be written to, and leave nothing behind.

    Tried, not asked for: an administrator may write anywhere, but not to a file system that is read-only.

    Raises:
        OSError: it could not.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    probe = folder / f".pneumo-{secrets.token_hex(4)}"
    probe.mkdir()
    probe.rmdir()


def flush_folder(folder: Path) -> None:
    """Make the renames in ``folder`` survive a power failure, where the system can."""
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
    """Write ``text`` as UTF-8, with its line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline.

    Raises:
        ValueError: the value holds a NaN or an infinity, which JSON does not have; nothing is written.
        TypeError: the value holds something that is not JSON; nothing is written.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
