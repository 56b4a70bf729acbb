"""Base class of datasets whose images are files below a folder or in a zip archive.

A plugin says which file is which record. Reading them, and the account of the files that are not used, are here.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data import decoders
from pneumo_cli.data.decoding import decode, sample_depth
from pneumo_cli.data.file_kinds import is_image, kind_of
from pneumo_cli.data.files import ImageFiles
from pneumo_cli.data.records import Dataset, Record, UnusedFiles
from pneumo_cli.data.sample_depth import DEPTHS, may_be_deep, needed_bits, scaling_text
from pneumo_cli.data.source import code_identity, request_identity
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.runtime.threads import ordered_map
from pneumo_cli.specs import MAGIC_BYTES

_EXAMPLES = 3
_SEARCHING = threading.Lock()  # threads that read images would all search


class _Depth(NamedTuple):
    """Bits (0: there are no such files) and the largest value of the 16-bit files that state no depth."""

    bits: int
    largest: int


class FileDataset(Dataset):
    """A dataset of image files. A derived class sets :attr:`paths` and the attributes of a dataset.

    16-bit files that do not state their depth are scaled by one depth, which holds the values of all of them.

    Args:
        files: below its root.
        cache: folder of caches.
        progress: shows long steps.

    Attributes:
        files: below its root.
        paths: the path of each record's file below the root, by the record's name.
    """

    paths: Mapping[str, str]

    def __init__(self, files: ImageFiles, cache: Path, progress: Progress) -> None:
        self.files = files
        self.place = str(files.root)
        self._cache, self._progress = cache, progress

    def read_bytes(self, record: Record) -> bytes:
        """The content of a record's file.

        Raises:
            UnreadableImage: it cannot be read.
        """
        return self.files.read_bytes(self.paths[record.name])

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        return decode(self.read_bytes(record), size, bits=self._depth.bits or None)

    @property
    def reading_modules(self) -> tuple[str, ...]:
        return decoders.modules_for(self.paths.values())

    @property
    def gray_scaling(self) -> str:
        depth = self._depth
        return scaling_text(depth.bits, depth.largest) if depth.bits else ""

    @cached_property
    def _depth(self) -> _Depth:
        """The depth that the 16-bit files which state none have in common: found once, and kept in the cache."""
        identity = {**request_identity(self), **code_identity(self), "fingerprint": self.fingerprint}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode(errors="replace")).hexdigest()
        path = self._cache / "depths" / f"{key[:32]}.json"
        with _SEARCHING:
            known = _read_depth(path)
            if known is None:
                known = self._searched_depth()
                with suppress(OSError):  # it only costs time
                    atomic.write_json(path, known._asdict())
        return known

    def _searched_depth(self) -> _Depth:
        def largest(path: str) -> int:
            start = self.files.beginning(path, MAGIC_BYTES)
            spec = decoders.find(start)
            if not (spec.largest_value if spec else may_be_deep(start)):
                return 0
            try:
                depth = sample_depth(self.files.read_bytes(path))
            except UnreadableImage:
                return 0
            return depth.largest if depth is not None and depth.stated is None else 0

        with closing(ordered_map(largest, self.paths.values())) as values:
            highest = max(values, default=0)
        return _Depth(needed_bits(highest) if highest else 0, highest)

    def digests(self, paths: Collection[str]) -> dict[str, str]:
        """The content hash of each file, see :meth:`pneumo_cli.data.files.ImageFiles.digests`."""
        return self.files.digests(paths, self._cache, self._progress)


def _read_depth(path: Path) -> _Depth | None:
    try:
        content = json.loads(path.read_bytes())
        depth = _Depth(int(content["bits"]), int(content["largest"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return depth if depth.bits in (0, *DEPTHS) else None


def unused_files(
    files: Collection[str],
    used: Collection[str],
    where: Callable[[str], str] = lambda path: "",
    beginning: Callable[[str, int], bytes] = lambda path, size: b"",
) -> tuple[UnusedFiles, ...]:
    """The files below a root that are not used, by kind; images, and what may hold images, first.

    Args:
        files: paths of all files (:meth:`pneumo_cli.data.files.ImageFiles.files`).
        used: paths of the images, and of tables, that are used.
        where: why an image is not used, in words that follow a number of files, such as ``in the class folder
            train/COVID19``; empty: its folder is named.
        beginning: the first bytes of a file (:meth:`pneumo_cli.data.files.ImageFiles.beginning`), asked for where
            the name does not tell what it is.
    """
    kinds: dict[tuple[bool, str], list[str]] = defaultdict(list)
    known = dict.fromkeys(used)
    for path in sorted({path for path in files if path not in known}):
        if is_image(path):
            folder = str(PurePosixPath(path).parent)
            kind = True, where(path) or ("at the top level" if folder == "." else f"in the folder {folder}")
        else:
            name, images = kind_of(PurePosixPath(path), partial(beginning, path, MAGIC_BYTES))
            kind = images, name if name.startswith("without") else f"of the type {name}"
        kinds[kind].append(path)
    return tuple(
        UnusedFiles(kind, len(paths), tuple(paths[:_EXAMPLES]), images)
        for (images, kind), paths in sorted(kinds.items(), key=lambda item: (not item[0][0], item[0][1]))
    )
