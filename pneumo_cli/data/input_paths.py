"""Expansion of path arguments (files, folders, globs, lists on standard input) to image files, and their bytes.

Reads the beginning of a file only where its suffix does not tell what it is; decodes nothing. A file that is named
itself is always returned: reading it reports what is wrong with it, and the others are still read. Files of
searched folders that are no images are counted by kind (:class:`LeftOut`).
"""

from __future__ import annotations

import codecs
import glob
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TextIO

from pneumo_cli.data.file_kinds import begins_as_image, image_suffixes, is_image, kind_of, tells_by_content
from pneumo_cli.data.files import HIDDEN, ImageFiles
from pneumo_cli.errors import DataError, UnreadableImage, UsageError
from pneumo_cli.specs import MAGIC_BYTES

STANDARD_INPUT = "-"
"""The argument for a list of names on standard input."""

_log = logging.getLogger("pneumo")


@dataclass
class LeftOut:
    """Files of searched folders that are not predicted because they are no images.

    Attributes:
        kinds: their number by kind, such as ``.txt`` or ``.zip (an archive)``.
        places: the arguments that were searched when they were found.
        may_be_images: number of those that are archives, or images of a format that is not read.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)
    may_be_images: int = 0

    def add(self, path: Path, place: str) -> None:
        """Count a file that was found below the argument ``place``."""
        kind, may_be_image = kind_of(path, lambda: _start(path))
        self.kinds[kind] += 1
        self.may_be_images += may_be_image
        if place not in self.places:
            self.places.append(place)

    def add_skipped(self, files: ImageFiles, place: str) -> None:
        """Count what was skipped while the files below the argument ``place`` were listed."""
        for reason, names in files.skipped.items():
            self.kinds[reason] += len(names)
            # Thumbnails and backups of other programs are hidden: no reason to fail.
            self.may_be_images += 0 if reason == HIDDEN else sum(map(is_image, names))
            if place not in self.places:
                self.places.append(place)

    def __str__(self) -> str:
        """One line: ``5 files of scans are not images: 3 .txt, 2 .zip (an archive)``; empty without such files."""
        number = self.kinds.total()
        if not number:
            return ""
        named = ", ".join(self.places[:3]) + (" and others" if len(self.places) > 3 else "")
        most_first = sorted(self.kinds.items(), key=lambda item: (-item[1], item[0]))
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in most_first)
        return (
            f"{number:,} {'file' if number == 1 else 'files'} of {named} {'is' if number == 1 else 'are'} no "
            f"{'image' if number == 1 else 'images'} that can be read: {kinds}"
        )


class PathList:
    """Paths in an order, each in the bytes of its text: a tenth of what a list takes."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._text = bytearray()
        self._length = 0
        for path in paths:
            self._text += os.fsencode(path) + b"\0"
            self._length += 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Path]:
        for _, name in zip(range(self._length), _split(self._text, b"\0"), strict=False):
            yield Path(os.fsdecode(name))


def expand(
    arguments: Sequence[str], stdin: TextIO | None = None, left_out: LeftOut | None = None
) -> Iterator[Path]:
    """Yield the files that the arguments name, each once, in the order of the arguments.

    - A file, or a path that does not exist: itself.
    - A folder: the images below it, sorted by name: those with one of :func:`image_suffixes`, and files without
      a usual suffix whose content begins as that of an image. Hidden files and folders are skipped; links are
      followed, but no folder is searched twice.
    - A glob (``*``, ``?``, ``[…]``; ``**`` is any number of folders), unless a file has this name: the matches,
      sorted, with folders as above. If its last part is only ``*`` or ``**``, images only.
    - ``-``: the files and folders listed on ``stdin``, separated by line ends, or by NUL characters if there are
      any. Blank lines and a byte order mark are skipped, globs are not expanded.

    A folder or glob without images is logged as a warning if other arguments have some. The other files of folders
    and globs are counted in ``left_out``, which is complete once the last file has been yielded; without it they
    are logged as a warning, too.

    Raises:
        UsageError: there is no file at all; ``-`` without standard input; a folder cannot be listed; an empty
            argument; a name that is not valid UTF-8, for which no result could be printed.
    """
    counted = LeftOut() if left_out is None else left_out
    seen: set[bytes] = set()  # digests, because there may be a million
    empty: list[str] = []
    for argument in arguments:
        any_file = False
        for path in _named(argument, stdin, counted):
            any_file = True
            # Not resolved: "a/../b" is another file if a is a link.
            identity = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=16).digest()
            if identity not in seen:
                seen.add(identity)
                yield path
        if not any_file:
            empty.append(argument)
    if not seen:
        found = f"; {counted}" if counted.kinds else ""
        raise UsageError(_no_images(empty) + found)
    for argument in empty:
        _log.warning("%s", _no_images([argument]))
    if left_out is None and counted.kinds:
        _log.warning("%s", counted)


def read_file(path: Path) -> bytes:
    """Return the content of a file; thread-safe.

    Raises:
        UnreadableImage: it does not exist, is not a regular file, is larger than
            :data:`~pneumo_cli.data.files.MAX_BYTES`, or cannot be read.
    """
    if os.path.isdir(path):  # Path.is_dir raises if the name is too long
        raise UnreadableImage("a folder, not a file")
    try:
        return ImageFiles(path.parent).read_bytes(path.name)
    except (DataError, ValueError):  # its folder cannot be opened, or the name holds a NUL character
        raise UnreadableImage("no such file, or its folder cannot be opened") from None


def _named(argument: str, stdin: TextIO | None, left_out: LeftOut) -> Iterator[Path]:
    if argument == STANDARD_INPUT:
        for name in _listed(stdin):
            yield from _files(name, left_out)
    elif not os.path.lexists(argument) and any(character in argument for character in "*?["):
        yield from _matching(_checked(argument), left_out)
    else:
        yield from _files(argument, left_out)


def _files(name: str, left_out: LeftOut) -> Iterator[Path]:
    path = Path(_checked(name))
    if not os.path.isdir(path):
        yield path
        return
    files = ImageFiles(path)
    for below in files.files():
        if _is_image(path / below):
            yield path / below
        else:
            left_out.add(path / below, name)
    left_out.add_skipped(files, name)


def _matching(pattern: str, left_out: LeftOut) -> Iterator[Path]:
    parts = PurePosixPath(pattern).parts
    only_images = set(parts[-1]) == {"*"}
    if "**" not in parts:
        for name in sorted(glob.glob(pattern)):
            path = Path(name)
            if only_images and path.name == "__MACOSX":
                continue
            if only_images and path.is_file() and not _is_image(path):
                left_out.add(path, pattern)
                continue
            yield from _files(name, left_out)
        return
    # Not by glob, which follows links to parent folders forever.
    first = parts.index("**")
    above = str(PurePosixPath(*parts[:first])) if first else "."
    for folder in sorted(glob.glob(above)):
        if not os.path.isdir(folder):
            continue
        files = ImageFiles(Path(folder))
        for below in files.files():
            path = Path(folder) / below
            if not _matches(PurePosixPath(below).parts, parts[first:]):
                continue
            if only_images and not _is_image(path):
                left_out.add(path, pattern)
            else:
                yield path
        if only_images:
            left_out.add_skipped(files, pattern)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match those of a pattern, in which ``**`` is any number of parts."""
    reached = {0}  # the places in the pattern that the parts so far may have led to
    for part in parts:
        reached = _past_stars(reached, pattern)
        reached = {
            place + (pattern[place] != "**")
            for place in reached
            if place < len(pattern) and (pattern[place] == "**" or fnmatchcase(part, pattern[place]))
        }
    return len(pattern) in _past_stars(reached, pattern)


def _past_stars(reached: set[int], pattern: Sequence[str]) -> set[int]:
    result = set(reached)
    for place in sorted(reached):
        while place < len(pattern) and pattern[place] == "**":
            place += 1
            result.add(place)
    return result


def _listed(stdin: TextIO | None) -> Iterator[str]:
    if stdin is None:
        raise UsageError("- reads a list of files from standard input, and there is none")
    binary = getattr(stdin, "buffer", None)  # bytes if possible: names need not be valid text
    data = binary.read() if binary is not None else stdin.read().encode("utf-8", "surrogatepass")
    while data.startswith(codecs.BOM_UTF8):
        data = data.removeprefix(codecs.BOM_UTF8)
    separator, ending = (b"\0", "") if b"\0" in data else (b"\n", "\r")
    for name in _split(data, separator):
        text = os.fsdecode(name).removesuffix(ending)
        if text.strip():
            yield text


def _split(data: bytes | bytearray, separator: bytes) -> Iterator[bytes]:
    """The parts of a text one by one, where a list of a million would take many times its size."""
    start = 0
    while (end := data.find(separator, start)) >= 0:
        yield bytes(data[start:end])
        start = end + 1
    yield bytes(data[start:])


def _checked(name: str) -> str:
    if not name:
        raise UsageError("an empty path: name files, folders, or - for a list on standard input")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"a file name is not valid UTF-8, {name!a}: rename it") from None
    if "\0" in name:
        raise UsageError(f"not a path: {name!a}")
    return name


def _is_image(path: Path) -> bool:
    return is_image(path.name) or (tells_by_content(path) and begins_as_image(_start(path) or b""))


def _start(path: Path) -> bytes | None:
    """The first bytes of a file; None if it cannot be opened."""
    try:
        with path.open("rb") as handle:
            return handle.read(MAGIC_BYTES)
    except OSError:
        return None


def _no_images(arguments: Sequence[str]) -> str:
    if list(arguments) == [STANDARD_INPUT]:
        return "standard input lists no files"
    named = ", ".join("standard input" if one == STANDARD_INPUT else one for one in arguments[:3])
    more = f" and {len(arguments) - 3} more" if len(arguments) > 3 else ""
    return f"no images in {named or 'nothing'}{more}: no {', '.join(image_suffixes())} or DICOM files"
