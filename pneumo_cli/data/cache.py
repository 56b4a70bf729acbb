"""Decode-once cache: all images of a dataset at one size, in one checksummed, memory-mapped file.

Later epochs and runs read it instead of the image files. A cache can be deleted at any time; a damaged one is
detected by its checksum and rebuilt. Each entry is two files in ``CACHE/decoded``: the gray levels (``.u8``) and
their manifest (``.json``), see :mod:`pneumo_cli.data.array_file`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.array_file import DamagedArrayError, disk_errors, open_array, prepare_folder, write_array
from pneumo_cli.data.decoding import resize
from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.runtime.threads import ordered_map

_FORMAT = 2  # to be increased when the result of decoding or resizing changes
_log = logging.getLogger("pneumo")
_MANY = 1000  # images from which on decoding takes seconds and is announced


@dataclass(frozen=True)
class DecodedImages:
    """All images of a dataset at one size.

    Attributes:
        images: uint8 [N, size, size], row i is record i; memory-mapped, read-only.
        unreadable: reason by position for images that could not be decoded; their rows are zero.
    """

    images: np.memmap[Any, np.dtype[np.uint8]]
    unreadable: dict[int, str]


def decoded_images(dataset: Dataset, size: int, cache: Path, progress: Progress) -> DecodedImages:
    """Return the dataset's images at ``size`` x ``size``, from the cache or decoded now.

    Images are decoded in threads. Several processes may do so at once: each writes its own temporary file, and the
    last one to finish replaces the others' equal result. An interruption leaves nothing behind. Unreadable images
    are tried again each time, so that a temporary failure is not cached.

    Args:
        dataset: source of the images.
        size: height and width in pixels.
        cache: folder of all caches; created where missing.
        progress: shows the stage ``decoding``.

    Raises:
        DataError: the dataset has no images.
        UsageError: the cache folder cannot be written to.
        PneumoError: writing failed, a full disk for example.
    """
    if not dataset.records:
        raise DataError(f"the dataset {dataset.name} holds no images")
    path = cache / "decoded" / f"{dataset.fingerprint[:32]}-{size}.u8"
    prepare_folder(path.parent)
    try:
        cached = _open(dataset, size, path)
    except DamagedArrayError as damage:
        _log.warning("the decoded images in %s are damaged (%s): decoding them again", path, damage)
        cached = None
    if cached is None or _any_readable_now(dataset, cached.unreadable):
        cached = _build(dataset, size, path, progress)
    return cached


def cache_usage(cache: Path) -> tuple[int, int]:
    """Return the number of decoded datasets below ``cache`` and the size of all files there in bytes."""
    entries = total = 0
    for file in cache.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # removed by another process
            continue
        entries += file.suffix == ".u8"
    return entries, total


def _open(dataset: Dataset, size: int, path: Path) -> DecodedImages | None:
    """Open an entry; None where there is none."""
    opened = open_array(path, _identity(dataset, size))
    if opened is None:
        return None
    images, manifest = opened
    try:
        unreadable = {int(position): str(reason) for position, reason in manifest["unreadable"].items()}
    except (KeyError, ValueError, AttributeError):
        raise DamagedArrayError("the manifest cannot be read") from None
    return DecodedImages(images, unreadable)


def _identity(dataset: Dataset, size: int) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "fingerprint": dataset.fingerprint,
        "size": size,
        "shape": [len(dataset.records), size, size],
        "dtype": "uint8",
    }


def _build(dataset: Dataset, size: int, path: Path, progress: Progress) -> DecodedImages:
    def decode(position: int) -> NDArray[np.uint8] | str:
        try:
            return resize(dataset.read(dataset.records[position], size), size)
        except (UnreadableImage, OSError) as error:  # an OSError would look like one of the cache
            return str(error)

    count = len(dataset.records)
    unreadable: dict[int, str] = {}
    blank = bytes(size * size)

    def blocks(advance: Callable[[int], None]) -> Generator[bytes]:
        with closing(ordered_map(decode, range(count))) as rows:
            for position, row in enumerate(rows):
                if isinstance(row, str):
                    unreadable[position] = row
                yield blank if isinstance(row, str) else row.tobytes()
                advance(1)

    def facts() -> dict[str, Any]:
        reasons = {str(position): reason for position, reason in unreadable.items()}
        return {"dataset": dataset.name, "place": dataset.place, "unreadable": reasons}

    if count >= _MANY:
        _log.log(NOTICE, "decoding %s images at %d px, once, into %s", f"{count:,}", size, path.parent)
    with (
        disk_errors("decoded images", count * size * size, path.parent),
        progress.stage("decoding", count) as advance,
        closing(blocks(advance)) as rows,
    ):
        images = write_array(path, _identity(dataset, size), rows, facts)
    return DecodedImages(images, unreadable)


def _any_readable_now(dataset: Dataset, unreadable: dict[int, str]) -> bool:
    def readable(position: int) -> bool:
        try:
            dataset.read(dataset.records[position])
        except (UnreadableImage, OSError):
            return False
        return True

    with closing(ordered_map(readable, unreadable)) as results:
        return any(results)
