"""Image files below a folder or in a zip archive, behind one interface.

Handles names, bytes and content hashes; layouts and labels are up to dataset plugins. Decodes nothing. Archives are
read in place, without extraction.
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
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pneumo_cli.data.file_kinds import begins_as_image, is_image, tells_by_content
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.garbage import uncollected
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.threads import ordered_map
from pneumo_cli.specs import MAGIC_BYTES

MAX_BYTES = 256 * 2**20
"""The largest file that is read; the sizes that an archive states cannot be trusted."""

HIDDEN = "with a hidden name or folder"
NOT_REGULAR = "of no regular kind (pipe, socket, device or broken link)"
OUTSIDE = "with a path that leads out of the archive"
AGAIN = "with the name of another member"

UNREADABLE = "unreadable:"
"""Prefix of the digest of an unreadable file; its name follows, so that no two are equal."""

_DIGESTS_FORMAT = 1
_MORE = 2**16  # bytes of a file that grows while it is read; each file's end is found with a read of as many
_BATCH = 32  # files per task of a thread: small ones are hashed faster than tasks are passed
_log = logging.getLogger("pneumo")

Signature = tuple[int, int]


class _Source(Protocol):
    """A folder or an archive."""

    def files(self) -> Iterator[tuple[list[str], str]]: ...

    def read(self, name: str, size: int = ...) -> bytes: ...

    def signature(self, name: str) -> Signature | None: ...


class ImageFiles:
    """The images below ``root``.

    Args:
        root: a folder, or a zip archive.

    Raises:
        DataError: ``root`` does not exist, cannot be opened, is neither a folder nor an archive, or is damaged.

    Attributes:
        root: the same.
        skipped: what ``files``, once it was called, does not return: names by reason, in words that follow a number
            of files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: dict[str, list[str]] = {}
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
        """Return the names of the images: those of ``files`` with the suffix of a format that can be decoded.

        Broken links are included, as unreadable images. Raises DataError as ``files`` does.
        """
        return [name for name in self.files() if is_image(name)]

    def images_among(self, names: Iterable[str]) -> list[str]:
        """Return the images among some of ``files``, in their order, also those that only their content tells.

        Those are files without a suffix, or with one that tells nothing, such as the number at the end of a unique
        identifier of DICOM.
        """
        return [name for name in names if is_image(name) or self._begins_as_image(name)]

    def _begins_as_image(self, name: str) -> bool:
        return tells_by_content(PurePosixPath(name)) and begins_as_image(self.beginning(name, MAGIC_BYTES))

    @uncollected()
    def files(self) -> list[str]:
        """Return the names of all files: POSIX paths relative to the root, sorted.

        Without hidden files and folders and what macOS adds to archives (``__MACOSX``, ``._*``). Links are
        followed, but no folder is listed twice. Hidden images, pipes, broken links and members of an archive whose
        path leads out of it are in ``skipped``.

        Raises:
            DataError: a folder cannot be listed, or a name is not valid Unicode.
        """
        names: list[str] = []
        skipped: dict[str, list[str]] = {}
        for several, reason in self._source.files():
            if not several:
                continue
            if reason:
                shown = (name.encode(errors="replace").decode() for name in several)
                skipped.setdefault(reason, []).extend(shown)
            else:
                _check_unicode(several, self.root)
                names += several
        self.skipped = {reason: sorted(several) for reason, several in sorted(skipped.items())}
        names.sort()
        return names

    def read_bytes(self, name: str) -> bytes:
        """Return the content of one file; thread-safe.

        Raises:
            UnreadableImage: it cannot be read; the message says why.
        """
        return self._source.read(name)

    def beginning(self, name: str, size: int) -> bytes:
        """Return the first ``size`` bytes of one file, or fewer if it is shorter; empty if it cannot be read."""
        try:
            return self._source.read(name, size)
        except UnreadableImage:
            return b""

    def digests(self, names: Iterable[str], cache: Path, progress: Progress) -> dict[str, str]:
        """Return the SHA-256 of each file's content, in hexadecimal.

        Results are cached below ``cache`` until size or modification time of the file (or of the archive) changes.
        An unreadable file gets ``unreadable:<name>``, which is not cached.
        """
        digests: dict[str, str] = {}
        missing: dict[str, Signature | None] = {}
        with uncollected():
            cached = _DigestCache(cache, self.root)
            for name in names:
                entry, signature = cached.entries.get(name), self._source.signature(name)
                if entry and signature and entry[0] == signature[0] and entry[1] == signature[1]:
                    digests[name] = entry[2]
                else:
                    digests[name] = ""  # for the order of the names
                    missing[name] = signature
        if missing:
            waiting = iter(missing)
            batches = list(iter(lambda: list(islice(waiting, _BATCH)), []))
            with (
                progress.stage("hashing", len(missing)) as advance,
                closing(ordered_map(self._digests, batches)) as computed,
            ):
                for batch, found in zip(batches, computed, strict=True):
                    digests |= zip(batch, found, strict=True)
                    advance(len(batch))
            for name, signature in missing.items():
                if signature and not digests[name].startswith(UNREADABLE):
                    cached.entries[name] = [*signature, digests[name]]
            cached.save()
        return digests

    def _digests(self, names: Iterable[str]) -> list[str]:
        return [self._digest(name) for name in names]

    def _digest(self, name: str) -> str:
        try:
            return hashlib.sha256(self.read_bytes(name)).hexdigest()
        except UnreadableImage:
            return UNREADABLE + name


def _is_clutter(part: str) -> bool:
    """Whether a file or folder of this name is never an image of anybody's: what macOS adds."""
    return part.startswith("._") or part == "__MACOSX"


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself
        pass
    return "broken link" if entry.is_symlink() else "other"


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = os.path.join(root, "")

    def files(self) -> Iterator[tuple[list[str], str]]:
        """The names of some files at a time, and the reason why they are skipped, or nothing."""
        visited: set[tuple[int, int]] = set()
        folders = [("", False)]
        while folders:
            folder, hidden = folders.pop()
            try:
                status = os.stat(self._root / folder)
                # By identity, not by path: a link to a parent folder would otherwise be followed forever.
                if (status.st_dev, status.st_ino) in visited:
                    continue
                visited.add((status.st_dev, status.st_ino))
                found: dict[str, list[str]] = defaultdict(list)  # names by kind
                with os.scandir(self._root / folder) as listing:
                    for one in listing:
                        if not _is_clutter(one.name):
                            found[_kind(one)].append(one.name)
            except OSError as error:
                if hidden:
                    continue
                raise DataError(f"cannot list {self._root / folder}: {error.strerror}") from None
            above = f"{folder}/" if folder else ""
            # Hidden folders come last: they may be links to others.
            folders[:0] = [(above + name, True) for name in found["folder"] if hidden or name.startswith(".")]
            folders += [
                (above + name, False)
                for name in sorted(found["folder"], reverse=True)
                if not (hidden or name.startswith("."))
            ]
            unseen = [name for name in found["file"] if hidden or name.startswith(".")]
            yield [above + name for name in unseen if is_image(name)], HIDDEN
            if hidden:
                continue
            broken = [name for name in found["broken link"] if not name.startswith(".")]
            names = [name for name in found["file"] if not name.startswith(".")]
            # Sorted before paths are made of them: paths that lie in memory in their order are read faster later.
            names = sorted(names + [name for name in broken if is_image(name)], reverse=True)
            yield [above + name for name in names], ""
            other = [name for name in found["other"] if not name.startswith(".")]
            yield (
                [above + name for name in other + [name for name in broken if not is_image(name)]],
                NOT_REGULAR,
            )

    def read(self, name: str, size: int = MAX_BYTES + 1) -> bytes:
        path = os.path.join(self._prefix, name)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
                raise UnreadableImage("not a regular file")
            with open(path, "rb", buffering=0) as handle:
                # A read of the largest size would reserve as much memory for each file, however small it is.
                parts = [handle.read(min(size, status.st_size + 1))]
                while parts[-1] and (left := size - sum(map(len, parts))) > 0:
                    parts.append(handle.read(min(left, _MORE)))
                return _bounded(b"".join(parts))
        except OSError as error:
            raise UnreadableImage(error.strerror or "cannot be read") from None

    def signature(self, name: str) -> Signature | None:
        try:
            status = os.stat(os.path.join(self._prefix, name))
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns


class _Archive:
    def __init__(self, root: Path) -> None:
        self._root = root
        # Reading is thread-safe, but opening and closing members counts references without a lock.
        self._lock = threading.Lock()
        try:
            with root.open("rb") as handle:
                looks_like_zip = root.suffix.lower() == ".zip" or handle.read(2) == b"PK"
            self._archive = zipfile.ZipFile(root)
            status = root.stat()
        except OSError as error:
            raise DataError(f"cannot open {root}: {error.strerror}") from None
        except Exception:  # the exceptions of zipfile for a damaged directory are not documented
            if looks_like_zip:
                raise DataError(f"{root} is a damaged zip archive: download or copy it again") from None
            raise DataError(f"{root} is neither a folder nor a zip archive") from None
        self._signature = (status.st_size, status.st_mtime_ns)
        # Archives from Windows may separate folders by backslashes.
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._again: list[str] = []
        for info in self._archive.infolist():
            name = str(PurePosixPath(info.filename.replace("\\", "/")))
            if name in self._members and not info.is_dir():
                self._again.append(name)
            self._members[name] = info

    def files(self) -> Iterator[tuple[list[str], str]]:
        """The name of a member, and the reason why it is skipped, or nothing."""
        for name, info in self._members.items():
            path = PurePosixPath(name)
            if info.is_dir() or any(map(_is_clutter, path.parts)):
                continue
            if path.is_absolute() or ".." in path.parts:
                yield [name], OUTSIDE
            elif not any(part.startswith(".") for part in path.parts):
                yield [name], ""
            elif is_image(name):
                yield [name], HIDDEN
        yield self._again, AGAIN

    def read(self, name: str, size: int = MAX_BYTES + 1) -> bytes:
        try:
            with self._lock:
                member = self._archive.open(self._members[name])
            try:
                return _bounded(member.read(size))
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


def _check_unicode(names: Iterable[str], root: Path) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{root} holds a file whose name is not valid UTF-8, {name!a}: rename it"
            ) from None


def _is_entry(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[2], str) and len(value[2]) == 64


class _DigestCache:
    """Digests of one root's files with the files' signatures, in one JSON file. Losing it only costs time."""

    def __init__(self, cache: Path, root: Path) -> None:
        self._root = str(root.resolve())
        key = hashlib.sha256(self._root.encode(errors="replace")).hexdigest()
        self._path = cache / "digests" / f"{key[:32]}.json"
        self.entries: dict[str, list[Any]] = {}  # size, time of modification, digest
        try:
            content = json.loads(self._path.read_bytes())
            if content["format"] == _DIGESTS_FORMAT and content["root"] == self._root:
                self.entries = content["files"]
                for name in [name for name, entry in self.entries.items() if not _is_entry(entry)]:
                    del self.entries[name]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.entries = {}

    def save(self) -> None:
        files = {name: self.entries[name] for name in sorted(self.entries)}
        # Not indented: that takes ten times as long, and a gigabyte for a million files.
        content = json.dumps({"format": _DIGESTS_FORMAT, "root": self._root, "files": files})
        try:
            atomic.write_bytes(self._path, content.encode())
        except OSError as error:
            _log.warning("content hashes cannot be cached in %s: %s", self._path.parent, error.strerror)
