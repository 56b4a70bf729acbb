"""Image files below a folder or inside a zip archive, behind one interface.

Knows names, bytes and content hashes; knows neither layouts nor labels, which are a dataset plugin's, nor
how to decode. Archives are read in place, nothing is extracted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Protocol

from pneumo_cli.data.decoding import SUFFIXES
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.threads import ordered_map

MAX_BYTES = 256 * 2**20
"""The largest file that is read; an archive can claim anything about its members."""

UNREADABLE = "unreadable:"
"""What the digest of a file that cannot be read begins with; its name follows, so no two are equal."""

_MEMORY_FORMAT = 1
_log = logging.getLogger("pneumo")

Signature = tuple[int, int]


class _Source(Protocol):
    """Where names and bytes come from: a folder or an archive."""

    def files(self) -> Iterator[str]: ...

    def read(self, name: str) -> bytes: ...

    def signature(self, name: str) -> Signature | None: ...


class ImageFiles:
    """The images below ``root``.

    Args:
        root: a folder, or a zip archive.

    Raises:
        DataError: there is nothing at ``root``, it cannot be opened, it is neither a folder nor an archive,
            or the archive is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            mode = root.stat().st_mode
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            raise DataError(f"cannot open {root}: {reason}") from None
        if stat.S_ISDIR(mode):
            self._source: _Source = _Folder(root)
        elif stat.S_ISREG(mode):
            self._source = _Archive(root)
        else:
            raise DataError(f"{root} is neither a folder nor a zip archive")

    def names(self) -> list[str]:
        """Return the images' names: those of ``files`` that end in ``.jpeg``, ``.jpg`` or ``.png``.

        Broken links are listed: they are images that cannot be read.

        Raises:
            DataError: as ``files``.
        """
        return [name for name in self.files() if is_image(name)]

    def files(self) -> list[str]:
        """Return the names of all files that are part of the data: POSIX paths relative to the root, sorted.

        Left out: hidden files and folders, and what macOS adds to archives (``__MACOSX``, ``._*``). Links are
        followed, but no folder is listed twice.

        Raises:
            DataError: a folder cannot be listed, or a name is not valid Unicode.
        """
        return sorted(set(self._source.files()))

    def read_bytes(self, name: str) -> bytes:
        """Return the content of one file; may be called from several threads.

        Raises:
            UnreadableImage: it cannot be read; the message says why.
        """
        return self._source.read(name)

    def digests(self, names: Iterable[str], cache: Path, progress: Progress) -> dict[str, str]:
        """Return the SHA-256 of each file's content, in hexadecimal.

        Results are remembered below ``cache`` and used again while a file's (for an archive: the archive's)
        size and time of change stay the same. A file that cannot be read gets ``unreadable:<name>``, which
        is not remembered.
        """
        memory = _DigestMemory(cache, self.root)
        known = {name: (self._source.signature(name), memory.get(name)) for name in names}
        result = {
            name: remembered[1]
            for name, (signature, remembered) in known.items()
            if signature is not None and remembered is not None and remembered[0] == signature
        }
        missing = [name for name in known if name not in result]
        if missing:
            with (
                progress.stage("hashing", len(missing)) as advance,
                closing(ordered_map(self._digest, missing)) as computed,
            ):
                for name, digest in zip(missing, computed, strict=True):
                    result[name] = digest
                    signature = known[name][0]
                    if signature is not None and not digest.startswith(UNREADABLE):
                        memory.put(name, signature, digest)
                    advance(1)
            memory.save()
        return {name: result[name] for name in known}

    def _digest(self, name: str) -> str:
        try:
            return hashlib.sha256(self.read_bytes(name)).hexdigest()
        except UnreadableImage:
            return UNREADABLE + name


def is_image(name: str) -> bool:
    """True where the name is one of a JPEG or PNG file."""
    return name.lower().endswith(SUFFIXES)


def _is_clutter(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self) -> Iterator[str]:
        visited: set[tuple[int, int]] = set()
        folders = [PurePosixPath()]
        while folders:
            folder = folders.pop()
            try:
                status = os.stat(self._root / folder)
                # By identity, not by path: a link to a folder above would otherwise be followed for ever.
                if (status.st_dev, status.st_ino) in visited:
                    continue
                visited.add((status.st_dev, status.st_ino))
                with os.scandir(self._root / folder) as listing:
                    names = sorted(
                        (entry.name for entry in listing if not _is_clutter(entry.name)), reverse=True
                    )
            except OSError as error:
                raise DataError(f"cannot list {self._root / folder}: {error.strerror}") from None
            for name in names:
                path = self._root / folder / name
                if path.is_dir():
                    folders.append(folder / name)
                elif path.is_file() or (path.is_symlink() and is_image(name)):
                    yield _unicode(str(folder / name), self._root)

    def read(self, name: str) -> bytes:
        path = self._root / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
                raise UnreadableImage("not a regular file")
            with path.open("rb") as handle:
                return _bounded(handle.read(MAX_BYTES + 1))
        except OSError as error:
            raise UnreadableImage(error.strerror or "cannot be read") from None

    def signature(self, name: str) -> Signature | None:
        try:
            status = (self._root / name).stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns


class _Archive:
    def __init__(self, root: Path) -> None:
        self._root = root
        # Reading is safe in threads, but opening and closing members counts references without a lock.
        self._lock = threading.Lock()
        try:
            with root.open("rb") as handle:
                looks_like_zip = root.suffix.lower() == ".zip" or handle.read(2) == b"PK"
            self._archive = zipfile.ZipFile(root)
            status = root.stat()
        except OSError as error:
            raise DataError(f"cannot open {root}: {error.strerror}") from None
        except Exception:  # what a damaged directory of an archive makes zipfile raise is not documented
            if looks_like_zip:
                raise DataError(f"{root} is a damaged zip archive: download or copy it again") from None
            raise DataError(f"{root} is neither a folder nor a zip archive") from None
        self._signature = (status.st_size, status.st_mtime_ns)
        # Archives made on Windows may separate folders by backslashes.
        self._members = {info.filename.replace("\\", "/"): info for info in self._archive.infolist()}

    def files(self) -> Iterator[str]:
        for name, info in self._members.items():
            path = PurePosixPath(name)
            # A path that is not in its normal form ("a//b", "/a", "a/../b") is no name of a file of a tree.
            normal = str(path) == name and not path.is_absolute() and ".." not in path.parts
            if normal and not info.is_dir() and not any(map(_is_clutter, path.parts)):
                yield _unicode(name, self._root)

    def read(self, name: str) -> bytes:
        try:
            with self._lock:
                member = self._archive.open(self._members[name])
            try:
                return _bounded(member.read(MAX_BYTES + 1))
            finally:
                with self._lock:
                    member.close()
        except KeyError:
            raise UnreadableImage("not in the archive") from None
        except OSError as error:
            raise UnreadableImage(error.strerror or "cannot be read") from None
        except NotImplementedError:
            raise UnreadableImage("compressed by an unknown method") from None
        except RuntimeError:
            raise UnreadableImage("encrypted") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError):
            raise UnreadableImage("damaged in the archive") from None

    def signature(self, name: str) -> Signature | None:
        return self._signature


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise UnreadableImage(f"larger than {MAX_BYTES // 2**20} MiB")
    return data


def _unicode(name: str, root: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{root} holds a file whose name is not valid UTF-8, {name!a}: rename it") from None
    return name


class _DigestMemory:
    """Digests of one root's files, kept in one JSON file. Losing it costs time, nothing else."""

    def __init__(self, cache: Path, root: Path) -> None:
        self._root = str(root.resolve())
        key = hashlib.sha256(self._root.encode(errors="replace")).hexdigest()
        self._path = cache / "digests" / f"{key[:32]}.json"
        self._entries: dict[str, tuple[Signature, str]] = {}
        try:
            content = json.loads(self._path.read_bytes())
            if content["format"] == _MEMORY_FORMAT and content["root"] == self._root:
                for name, (size, changed, digest) in content["files"].items():
                    if isinstance(digest, str) and len(digest) == 64:
                        self._entries[name] = ((int(size), int(changed)), digest)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._entries = {}

    def get(self, name: str) -> tuple[Signature, str] | None:
        return self._entries.get(name)

    def put(self, name: str, signature: Signature, digest: str) -> None:
        self._entries[name] = (signature, digest)

    def save(self) -> None:
        files = {name: (*signature, digest) for name, (signature, digest) in sorted(self._entries.items())}
        try:
            atomic.write_json(self._path, {"format": _MEMORY_FORMAT, "root": self._root, "files": files})
        except OSError as error:
            _log.warning("content hashes cannot be kept in %s: %s", self._path.parent, error.strerror)
