"""The datasets ``pneumonia-mnist`` and ``chest-mnist``: MedMNIST's ``.npz`` files of 28 to 224 pixels.

An ``.npz`` file is a zip archive of arrays. Its images are unpacked once into the cache and then mapped into
memory, so that no file needs more memory than one image. Every header is checked before anything is read; no array
may hold Python objects.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pneumo_cli import DataError
from pneumo_cli.data import Dataset, DatasetRequest, ImageFiles, Record, unused_files
from pneumo_cli.runtime import replace_file
from pneumo_datasets.archives import NIH_LABELS
from pneumo_datasets.class_names import chosen_classes
from pneumo_datasets.plugin import INSTRUCTIONS
from pneumo_datasets.settings import ClassSettings, names_of

SIZES = (28, 64, 128, 224)
MAX_IMAGES = 200_000
_HEADER_BYTES = 1024
_SPLITS = ("train", "val", "test")
_CHUNK = 2**20

_ORIGIN = (
    "MedMNIST v2 ({title}), resized from {source}; Yang et al., Scientific Data 2023, doi 10.5281/zenodo.10519652, "
    "licence CC BY 4.0"
)

Array = NDArray[np.uint8]


class MedMnist(Dataset):
    """One of MedMNIST's sets of chest radiographs.

    Args:
        request: its root is an ``.npz`` file, a folder that holds one, or a folder of its unpacked arrays.
        name, origin: of the dataset.
        stem: what its files are called, without size.
        labels: names of the columns of its labels; one: a column of 0 and 1 for two classes.
        classes: the classes to tell apart.

    Raises:
        DataError: the file is missing, damaged, or not of this set.
    """

    synthetic = False

    def __init__(
        self,
        request: DatasetRequest,
        name: str,
        origin: str,
        stem: str,
        labels: Sequence[str],
        classes: tuple[str, ...],
    ) -> None:
        if request.root is None:
            raise DataError(f"{name} needs its file: name it with --data-root, or {INSTRUCTIONS[name]}")
        self.name, self.origin, self.place = name, origin, str(request.root)
        self.multilabel = len(classes) > 1 and len(labels) > 1
        self.classes = classes if len(classes) > 1 else (f"no {classes[0]}", classes[0])
        file, self.unused = _located(request.root, stem, name)
        arrays = _arrays(file, request.cache / "medmnist")
        columns = [0] if len(labels) == 1 else [list(labels).index(title) for title in classes]
        self._images: dict[str, tuple[Array, int]] = {}
        records = []
        total = sum(len(arrays[f"{split}_images"]) for split in _SPLITS)
        with request.progress.stage("hashing", total) as advance:
            for split in _SPLITS:
                images, marks = _checked(arrays, split, len(labels), file)
                for number, (image, row) in enumerate(zip(images, marks[:, columns].tolist(), strict=True)):
                    record = self._record(split, number, image, row)
                    self._images[record.name] = images, number
                    records.append(record)
                    advance(1)
        self.records = sorted(records, key=lambda record: (record.label, record.name))
        self.notes = (
            "The file does not say which images are of one patient: each image counts as a patient.",
        )

    def read(self, record: Record, size: int | None = None) -> Array:
        images, number = self._images[record.name]
        return np.array(images[number])

    def _record(self, split: str, number: int, image: Array, labels: list[int]) -> Record:
        title = f"{split}/{number:06}"
        return Record(
            name=title,
            label=0 if self.multilabel else labels[0],
            patient=f"image:{title}",
            pool="test" if split == "test" else "train",
            digest=hashlib.sha256(image.tobytes()).hexdigest(),
            labels=tuple(labels) if self.multilabel else (),
            validation=split == "val",
        )


def open_pneumonia(request: DatasetRequest) -> MedMnist:
    """Open PneumoniaMNIST; raises as :class:`MedMnist`."""
    origin = _ORIGIN.format(title="PneumoniaMNIST", source="Kermany et al. 2018")
    classes = ("normal", "pneumonia")
    return MedMnist(request, "pneumonia-mnist", origin, "pneumoniamnist", ["pneumonia"], classes)


def open_chest(request: DatasetRequest) -> MedMnist:
    """Open ChestMNIST; raises as :class:`MedMnist`."""
    origin = _ORIGIN.format(title="ChestMNIST", source="NIH ChestX-ray14, Wang et al. 2017")
    classes = chosen_classes(NIH_LABELS, names_of(ClassSettings(**request.options).classes), "chest-mnist")
    return MedMnist(request, "chest-mnist", origin, "chestmnist", NIH_LABELS, classes)


def is_pneumonia(names: Sequence[str]) -> bool:
    """Whether a folder holds a file of PneumoniaMNIST."""
    return any(_is_named(name, "pneumoniamnist") for name in names)


def is_chest(names: Sequence[str]) -> bool:
    """Whether a folder holds a file of ChestMNIST."""
    return any(_is_named(name, "chestmnist") for name in names)


def _is_named(name: str, stem: str) -> bool:
    return bool(re.fullmatch(rf"{stem}(_\d+)?\.npz", name))


def _located(root: Path, stem: str, name: str) -> tuple[Path, Any]:
    """The ``.npz`` file, or the folder of its arrays, and the files beside it that are not used."""
    files = ImageFiles(root)
    names = files.files()
    arrays = [f"{split}_{what}.npy" for split in _SPLITS for what in ("images", "labels")]
    if set(arrays) <= set(names):
        return root, unused_files(names, arrays)
    found = [one for one in names if _is_named(one, stem)]
    if len(found) == 1 and root.is_dir():
        return root / found[0], unused_files(names, found)
    if len(found) > 1:
        raise DataError(f"{root} holds {len(found)} files, {', '.join(found)}: name one with --data-root")
    raise DataError(
        f"{root} is not {name}: it holds no {stem}.npz with train_images and so on; {INSTRUCTIONS[name]}"
    )


def _arrays(file: Path, cache: Path) -> dict[str, Array]:
    """The arrays of a file or folder by name, mapped into memory."""
    names = [f"{split}_{what}" for split in _SPLITS for what in ("images", "labels")]
    folder = file
    try:
        if file.is_file():
            status = file.stat()
            key = f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
            folder = cache / hashlib.sha256(key.encode(errors="replace")).hexdigest()[:32]
            with zipfile.ZipFile(file) as archive:
                if absent := sorted({f"{name}.npy" for name in names} - set(archive.namelist())):
                    raise DataError(f"{file} has no {absent[0].removesuffix('.npy')}")
                for name in names:
                    if not (folder / f"{name}.npy").is_file():
                        with archive.open(f"{name}.npy") as stream:
                            _unpack(stream, folder / f"{name}.npy", file)
        return {name: _mapped(folder / f"{name}.npy", file) for name in names}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise DataError(f"{file} is damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{file} cannot be unpacked into {cache}: {error.strerror or error}") from None


def _unpack(stream: IO[bytes], target: Path, file: Path) -> None:
    """Write one array of an archive into a file, no more bytes than its header states."""
    start = stream.read(_HEADER_BYTES)
    shape, _, offset = _header(start, target.stem, file)
    left = offset + math.prod(shape)
    with replace_file(target) as handle:
        chunk = start[:left]
        while chunk:
            handle.write(chunk)
            left -= len(chunk)
            chunk = stream.read(min(_CHUNK, left))
        if left:
            raise DataError(f"{file} is damaged: {target.stem} ends too early")


def _mapped(path: Path, file: Path) -> Array:
    with path.open("rb") as handle:
        shape, kind, offset = _header(handle.read(_HEADER_BYTES), path.stem, file)
    if path.stat().st_size < offset + math.prod(shape):
        raise DataError(f"{file} is damaged: {path.stem} ends too early")
    return np.memmap(path, kind, "r", offset, shape)


def _header(start: bytes, name: str, file: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and offset of an array of bytes, from the beginning of its file; raises ValueError."""
    stream = io.BytesIO(start)
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, kind = read(stream, max_header_size=_HEADER_BYTES)
    # A column of labels is in both orders at once.
    ordered = not by_columns or 1 in shape
    if kind not in (np.uint8, np.int8, np.bool_) or not ordered or not shape or min(shape) < 1:
        raise DataError(
            f"{file}: {name} has shape {shape} and type {kind}; MedMNIST stores bytes, row by row"
        )
    if shape[0] > MAX_IMAGES:
        raise DataError(f"{file}: {name} has {shape[0]:,} items, more than {MAX_IMAGES:,}")
    if name.endswith("_images") and (len(shape) != 3 or shape[1] != shape[2] or shape[1] not in SIZES):
        sizes = ", ".join(map(str, SIZES))
        raise DataError(
            f"{file}: {name} has the shape {shape}, not (images, side, side) with a side of {sizes}"
        )
    if name.endswith("_labels") and (len(shape) != 2 or shape[1] > len(NIH_LABELS)):
        raise DataError(f"{file}: {name} has the shape {shape}, not (images, labels)")
    return shape, kind, stream.tell()


def _checked(arrays: dict[str, Array], split: str, labels: int, file: Path) -> tuple[Array, Array]:
    """The images and labels of one split, if they belong together."""
    images, marks = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if marks.shape != (len(images), labels):
        raise DataError(
            f"{file} is another set: {split}_labels has the shape {marks.shape}, not ({len(images)}, {labels})"
        )
    if not np.isin(marks, (0, 1)).all():
        raise DataError(f"{file}: {split}_labels has the value {marks.max()}; labels are 0 and 1")
    return images, marks
