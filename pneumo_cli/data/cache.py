"""Decode-once cache: all images of a dataset at one size, in one checksummed, memory-mapped file.

Later epochs and runs read it instead of the image files. A cache can be deleted at any time; a damaged one is
detected by its checksum and rebuilt. So is one that another dataset, version or source code has made: each entry
states them, and at each opening some images are decoded anew and compared. An entry is two files in
``CACHE/decoded``: the gray levels (``.u8``, ``.u16``) and their manifest (``.json``), see
:mod:`pneumo_cli.data.array_file`; the masks of a target are one of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.array_file import (
    Array,
    DamagedArrayError,
    damage_is_warned_of,
    disk_errors,
    manifest_path,
    open_array,
    prepare_folder,
    write_array,
)
from pneumo_cli.data.dataset_checks import check_proportions, read_image, read_mask
from pneumo_cli.data.records import Dataset
from pneumo_cli.data.resizing import resize, resize_mask
from pneumo_cli.data.source import code_identity, request_identity, title_of
from pneumo_cli.errors import DataError, UnreadableImage
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.runtime.streams import stdout_to_stderr
from pneumo_cli.runtime.threads import ordered_map

_FORMAT = 3  # to be increased when the result of decoding or resizing changes
_log = logging.getLogger("pneumo")
_MANY = 1000  # images from which on decoding takes seconds and is announced
_COMPARED = 8  # images that are decoded anew at each opening
_LONGEST = 2.0  # seconds for them
_UNKNOWN = 255  # in a mask


@dataclass(frozen=True)
class DecodedImages:
    """All images of a dataset at one size, and their masks.

    Attributes:
        images: uint8 or uint16 [N, size, size], with several channels [N, C, size, size]; row i is record i;
            memory-mapped, read-only.
        masks: uint8 [N, size, size] by the name of the target; 255 is unknown.
        unreadable: reason by position for images that could not be decoded, or whose masks could not; their rows
            are zero, or unknown.
        digest: SHA-256 of images and masks, hexadecimal.
    """

    images: Array
    masks: Mapping[str, Array]
    unreadable: dict[int, str]
    digest: str


@dataclass(frozen=True)
class _Entry:
    """An opened or written array of the cache."""

    array: Array
    unreadable: dict[int, str]
    digest: str


def _entry(array: Array, manifest: Mapping[str, Any]) -> _Entry:
    """What has been opened.

    Raises:
        DamagedArrayError: the manifest does not say which images are unreadable.
    """
    try:
        unreadable = {int(place): str(reason) for place, reason in manifest["unreadable"].items()}
    except (KeyError, ValueError, AttributeError):
        raise DamagedArrayError("the manifest cannot be read") from None
    if not all(0 <= place < len(array) for place in unreadable):
        raise DamagedArrayError("the manifest names images that there are not")
    return _Entry(array, unreadable, manifest["sha256"])


class _Layer:
    """The images of a dataset, or their masks for one target, at one size."""

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        folder: Path,
        code: Mapping[str, Any],
        shapes: dict[int, tuple[int, int]],
        mask: str = "",
    ):
        self.dataset, self.size, self.mask = dataset, size, mask
        self._shapes = shapes  # of the images that have been read, by position
        several = (dataset.channels,) if dataset.channels > 1 and not mask else ()
        self.shape = (*several, size, size)
        self.dtype = np.dtype(np.uint16 if dataset.bits == 16 and not mask else np.uint8)
        # Of one request there is one entry: what other versions and code have made is replaced.
        request = {**request_identity(dataset), "fingerprint": dataset.fingerprint, "mask": mask}
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode(errors="replace")).hexdigest()
        suffix = ".mask.u8" if mask else ".u16" if dataset.bits == 16 else ".u8"
        self.path = folder / f"{key[:32]}-{size}{suffix}"
        self.identity = {
            "format": _FORMAT,
            **request,
            **code,
            "size": size,
            "shape": [len(dataset.records), *self.shape],
            "dtype": self.dtype.name,
        }

    def read(self, position: int) -> NDArray[Any] | str:
        """Decode and resize the image or mask of one record; text: why it cannot be read."""
        record = self.dataset.records[position]
        try:
            if self.mask:
                mask = read_mask(self.dataset, record, self.mask, self.size)
                check_proportions(self.dataset, record, self.mask, mask, self._shapes.get(position))
                return resize_mask(mask, self.size)
            image = read_image(self.dataset, record, self.size)
            self._shapes[position] = (image.shape[-2], image.shape[-1])
            return resize(image, self.size)
        except (UnreadableImage, OSError) as error:  # an OSError would look like one of the cache
            return f"mask {self.mask}: {_reason(error)}" if self.mask else _reason(error)

    def open(self) -> _Entry | None:
        """Open the entry; None where there is none that can be used."""
        entry = None
        with damage_is_warned_of(self.path, "decoded images", "decoding them again"):
            if (opened := open_array(self.path, self.identity)) is not None:
                entry = _entry(*opened)
        return None if entry is None or self._any_readable_now(entry.unreadable) else entry

    def _any_readable_now(self, unreadable: Mapping[int, str]) -> bool:
        with closing(ordered_map(self.read, unreadable)) as results:
            return any(not isinstance(result, str) for result in results)

    def build(self, progress: Progress) -> _Entry:
        """Decode all records and write the entry."""
        dataset, count = self.dataset, len(self.dataset.records)
        unreadable: dict[int, str] = {}
        blank = np.full(self.shape, _UNKNOWN if self.mask else 0, self.dtype).tobytes()

        def blocks(advance: Callable[[int], None]) -> Generator[bytes]:
            with closing(ordered_map(self.read, range(count))) as rows:
                for position, row in enumerate(rows):
                    if isinstance(row, str):
                        unreadable[position] = row
                    yield blank if isinstance(row, str) else row.tobytes()
                    advance(1)

        def facts() -> dict[str, Any]:
            reasons = {str(position): reason for position, reason in unreadable.items()}
            return {"place": dataset.place, "unreadable": reasons}

        what, folder = f"masks of {self.mask}" if self.mask else "images", self.path.parent
        if count >= _MANY:
            _log.log(NOTICE, "decoding %s %s at %d px, once, into %s", f"{count:,}", what, self.size, folder)
        with (
            disk_errors(f"decoded {what}", count * len(blank), folder),
            progress.stage("decoding", count) as advance,
            closing(blocks(advance)) as rows,
        ):
            array, manifest = write_array(self.path, self.identity, rows, facts)
        return _Entry(array, unreadable, manifest["sha256"])

    def differing(self, entry: _Entry, positions: list[int], deadline: float) -> int | None:
        """The first of some records that no longer gives what is cached; None: none does, as far as time allows.

        Raises:
            DataError: one gives another image each time.
        """
        tried = [position for position in positions if position not in entry.unreadable]
        with closing(ordered_map(self.read, tried)) as rows:
            for position, row in zip(tried, rows, strict=False):
                # One that cannot be read now, as without the drive that it is on, is no difference.
                if not isinstance(row, str) and not np.array_equal(row, entry.array[position]):
                    again = self.read(position)
                    if not isinstance(again, str) and not np.array_equal(row, again):
                        method = "read_mask" if self.mask else "read"
                        raise DataError(
                            f"{title_of(self.dataset)}: record {self.dataset.records[position].name!r}: {method}() "
                            "gives another image each time: it has to give the same one"
                        )
                    return position
                if time.monotonic() > deadline:
                    break
        return None


@stdout_to_stderr()  # what a plugin's reading prints must not spoil results
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
        DataError: the dataset has no images, or gives what is no image.
        UsageError: the cache folder cannot be written to.
        PneumoError: writing failed, a full disk for example.
    """
    if not dataset.records:
        raise DataError(f"the dataset {dataset.name} holds no images")
    folder = cache / "decoded"
    prepare_folder(folder)
    layers = _layers(dataset, size, folder)
    entries = [layer.open() for layer in layers]
    if (name := _changed(layers, entries)) is not None:
        _log.warning(
            "%s gives other images than those in %s (%s, for example): decoding them again",
            *(title_of(dataset), folder, name),
        )
        entries = [None] * len(layers)
    made = [entry or layer.build(progress) for layer, entry in zip(layers, entries, strict=True)]
    _check_built([(layer, one) for layer, one, entry in zip(layers, made, entries, strict=True) if not entry])
    if entries[0] is None:
        # What format 2 had for the same records, whatever dataset it was made from.
        _remove(folder / f"{dataset.fingerprint[:32]}-{size}.u8")
    return _decoded(layers, made)


def cached_images(dataset: Dataset, size: int, cache: Path) -> DecodedImages | None:
    """The images at ``size`` x ``size``, if the cache has all of them; None: it has not. Nothing is written."""
    layers = _layers(dataset, size, cache / "decoded")
    entries = [entry for layer in layers if (entry := layer.open()) is not None]
    return _decoded(layers, entries) if len(entries) == len(layers) else None


def blank_images(dataset: Dataset, size: int, folder: Path) -> DecodedImages:
    """Images of which none is decoded, for :func:`decode_some`: zeros, in sparse files that take no space.

    Raises:
        OSError: the folder cannot be written.
    """
    layers = _layers(dataset, size, folder)
    shapes = [(len(dataset.records), *layer.shape) for layer in layers]
    rows = [
        np.memmap(layer.path, layer.dtype, "w+", shape=shape)
        for layer, shape in zip(layers, shapes, strict=True)
    ]
    return _decoded(layers, [_Entry(array, {}, "") for array in rows])


@stdout_to_stderr()
def decode_some(dataset: Dataset, images: DecodedImages, positions: NDArray[np.int64]) -> None:
    """Decode some records into blank images, in threads; unreadable ones stay blank.

    Args:
        images: of :func:`blank_images`.
        positions: of the records, int64 [n].
    """
    for layer in _layers(dataset, images.images.shape[-1], Path()):
        array = images.masks[layer.mask] if layer.mask else images.images
        with closing(ordered_map(layer.read, positions.tolist())) as rows:
            for position, row in zip(positions, rows, strict=True):
                if not isinstance(row, str):
                    array[position] = row


def _layers(dataset: Dataset, size: int, folder: Path) -> list[_Layer]:
    """The images of a dataset, and their masks for each target that has some."""
    code = code_identity(dataset)
    names = ("", *(target.name for target in dataset.targets if target.kind == "mask"))
    shapes: dict[int, tuple[int, int]] = {}
    return [_Layer(dataset, size, folder, code, shapes, name) for name in names]


def _decoded(layers: list[_Layer], made: list[_Entry]) -> DecodedImages:
    unreadable: dict[int, str] = {}
    for entry in made:
        unreadable = entry.unreadable | unreadable
    digests = [entry.digest for entry in made]
    return DecodedImages(
        images=made[0].array,
        masks={layer.mask: entry.array for layer, entry in zip(layers[1:], made[1:], strict=True)},
        unreadable=dict(sorted(unreadable.items())),
        digest=hashlib.sha256(" ".join(digests).encode()).hexdigest() if len(digests) > 1 else digests[0],
    )


def _changed(layers: list[_Layer], entries: list[_Entry | None]) -> str | None:
    """The name of a record that no longer gives what is cached of it."""
    records, deadline = layers[0].dataset.records, time.monotonic() + _LONGEST
    positions = _spread_positions(layers[0].dataset)
    for layer, entry in zip(layers, entries, strict=True):
        if entry is not None and (position := layer.differing(entry, positions, deadline)) is not None:
            return records[position].name
    return None


def _check_built(built: list[tuple[_Layer, _Entry]]) -> None:
    """Compare what has been decoded now as at an opening: threads and the order may make a difference."""
    deadline = time.monotonic() + _LONGEST
    for layer, entry in built:
        dataset, method = layer.dataset, "read_mask" if layer.mask else "read"
        try:
            if (position := layer.differing(entry, _spread_positions(dataset), deadline)) is not None:
                record = dataset.records[position]
                raise DataError(
                    f"{title_of(dataset)}: record {record.name!r}: {method}() gave another image when all were "
                    "decoded: it has to give the same one in any order, and in several threads at once"
                )
        except DataError:
            _remove(layer.path)
            raise


def _reason(error: Exception) -> str:
    """Why an image cannot be read, in one line without control characters."""
    text = "".join(one if one.isprintable() else " " for one in str(error))
    return " ".join(text.split()) or f"damaged ({type(error).__name__})"


def _spread_positions(dataset: Dataset) -> list[int]:
    """A few positions, at random over the classes and records, the same each time."""
    rng = np.random.default_rng(int(dataset.fingerprint[:16], 16))
    by_class = np.argsort(np.array([record.label for record in dataset.records]), kind="stable")
    parts = np.array_split(by_class, min(_COMPARED, len(by_class)))
    return sorted(int(rng.choice(part)) for part in parts)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
        manifest_path(path).unlink(missing_ok=True)


def cache_usage(cache: Path) -> tuple[int, int]:
    """Return the number of decoded datasets below ``cache`` and the size of all files there in bytes."""
    entries = total = 0
    for file in cache.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # removed by another process
            continue
        entries += file.suffix in (".u8", ".u16") and ".mask" not in file.suffixes
    return entries, total
