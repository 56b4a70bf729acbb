"""Finds the file of a table's row: by its path, its name, or its name without suffix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from pneumo_cli import DataError

_TEXT = 80  # characters of a path that a message shows


class FileSearch:
    """The images below a root, to be found by what tables call them.

    Args:
        images: paths below the root.
        root: of the images.
        folder: of the table below the root, which its paths may be relative to; empty: none.
    """

    def __init__(self, images: Collection[str], root: Path, folder: str = "") -> None:
        self._images = set(images)
        self._root = root
        self._folder = folder
        self._by_end: dict[int, dict[str, list[str]]] = {}

    def find(self, text: str) -> str | None:
        """The path of an image below the root; None: there is no such image.

        Tried in this order: a path relative to the root or to the table's folder; the same without its first
        folders, for tables that name the archive's own folder; the longest end of the path, with or without suffix,
        that a file in any folder has.

        Raises:
            DataError: the path leads out of the root, or several files have the longest end.
        """
        if text in self._images:
            return text
        path = text.replace("\\", "/")
        if path.startswith("/") or ".." in path or path[1:2] == ":":
            path = self._inside(path, text)
        if path.startswith("./") or "//" in path:
            path = str(PurePosixPath(path))
        parts = path.split("/")
        for first in range(len(parts) - 1 or 1):
            rest = "/".join(parts[first:])
            for candidate in (rest, f"{self._folder}/{rest}" if self._folder else rest):
                if candidate in self._images:
                    return candidate
        for length in range(len(parts), 0, -1):
            found = self._with_end(length).get("/".join(parts[-length:]), ())
            if len(found) > 1:
                raise DataError(
                    f"{text[:_TEXT]!r} may be {len(found)} files: {found[0]}, {found[1]}; name their folders, too"
                )
            if found:
                return found[0]
        return None

    def _with_end(self, length: int) -> dict[str, list[str]]:
        """The images by the last parts of their paths, with and without suffix."""
        if length not in self._by_end:
            by_end: dict[str, list[str]] = defaultdict(list)
            for path in sorted(self._images):
                parts = path.split("/")[-length:]
                if len(parts) == length:
                    by_end["/".join(parts)].append(path)
                    stem = parts[-1].rpartition(".")[0]
                    if stem:
                        by_end["/".join([*parts[:-1], stem])].append(path)
            self._by_end[length] = dict(by_end)
        return self._by_end[length]

    def _inside(self, path: str, text: str) -> str:
        """A path that may lead out of the root, relative to it."""
        pure = PurePosixPath(path)
        if (
            pure.is_absolute()
            and ".." not in pure.parts
            and pure.is_relative_to(self._root.absolute().as_posix())
        ):
            return str(pure.relative_to(self._root.absolute().as_posix()))
        if pure.is_absolute() or ".." in pure.parts or path[1:2] == ":":
            raise DataError(
                f"the path {text[:_TEXT]!r} leads out of {self._root}: write paths relative to it, or file "
                "names alone"
            )
        return path
