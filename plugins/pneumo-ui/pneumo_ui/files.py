"""Reading files of a runs folder: only regular files that lie in it, in bounded pieces, and never for writing.

Whoever writes into the folder may put links, pipes or files of any size there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pneumo_cli.errors import PneumoError


class Refused(PneumoError):
    """A file that is not read: no regular file, outside the runs folder, or too large."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a file, from ``offset`` on.

    Attributes:
        size: of the whole file.
        version: changes when the file is replaced by another one (it is the inode), not when it grows.
    """

    content: bytes
    offset: int
    size: int
    version: int


def contained(folder: Path, file: Path) -> Path:
    """The real path of an existing file.

    Raises:
        FileNotFoundError: there is none.
        Refused: a link leads out of ``folder``.
    """
    try:
        real = file.resolve(strict=True)
    except (RuntimeError, OSError, ValueError) as error:  # a circle of links, a NUL
        if isinstance(error, FileNotFoundError):
            raise
        raise Refused(f"{file} cannot be read") from error
    if not real.is_relative_to(folder.resolve()):
        raise Refused(f"{file} is a link that leads out of {folder}")
    return real


def check(folder: Path, file: Path, limit: int) -> None:
    """Check a file that other code opens; there may be none.

    Raises:
        Refused: it is none to read, or has more than ``limit`` bytes.
    """
    try:
        facts = contained(folder, file).lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise Refused(f"{file} is no regular file")
    if facts.st_size > limit:
        raise Refused(f"{file} is too large: {facts.st_size / 2**20:,.0f} MB")


def read(folder: Path, file: Path, limit: int) -> bytes:
    """A whole file.

    Raises:
        FileNotFoundError: there is none.
        Refused: it is none to read, or has more than ``limit`` bytes.
    """
    piece = read_piece(folder, file, 0, limit)
    if piece.size > limit:
        raise Refused(f"{file} is too large to be shown: {piece.size / 2**20:,.0f} MB")
    return piece.content


def read_piece(folder: Path, file: Path, offset: int, limit: int) -> Piece:
    """At most ``limit`` bytes of a file from ``offset`` on; a negative offset counts from its end.

    Raises:
        FileNotFoundError: there is none.
        Refused: it is none to read.
    """
    real = contained(folder, file)
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise Refused(f"{file} is no regular file")
            start = max(0, facts.st_size + offset) if offset < 0 else min(offset, facts.st_size)
            opened.seek(start)
            return Piece(opened.read(limit), start, facts.st_size, facts.st_ino)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
