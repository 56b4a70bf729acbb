"""Preparation of a dataset for a run: decoded images, labels, and the split."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.cache import DecodedImages, decoded_images
from pneumo_cli.data.files import UNREADABLE
from pneumo_cli.data.folds import fold_split
from pneumo_cli.data.records import Dataset, Record, Task
from pneumo_cli.data.registered import find_registered, split_by
from pneumo_cli.data.resizing import GrayImages
from pneumo_cli.data.splits import (
    Overlaps,
    Policy,
    Split,
    SplitRow,
    class_table,
    overlaps,
    shown_classes,
    split_records,
)
from pneumo_cli.errors import DataError, UsageError, nearest
from pneumo_cli.registry import Entry, Registry
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.schema import SPLITS
from pneumo_cli.specs import SplitSpec

if TYPE_CHECKING:
    import torch

_SHOWN = 5  # number of unreadable images that an error names


@dataclass(frozen=True)
class SplitRequest:
    """How to divide the train pool.

    Attributes:
        policy, fraction, seed: see :func:`pneumo_cli.data.splits.split_records`.
        folds, fold: see :func:`pneumo_cli.data.folds.fold_split`, which is used instead if there are folds.
        registered: the plugin's split that ``policy`` names; None: it is one of pneumo's own.
    """

    policy: str
    fraction: float = 0.25
    seed: int = 42
    folds: int = 0
    fold: int = 0
    registered: Entry[SplitSpec] | None = None

    @classmethod
    def of(
        cls,
        registry: Registry[SplitSpec],
        policy: str,
        fraction: float,
        seed: int,
        folds: int = 0,
        fold: int = 0,
    ) -> SplitRequest:
        """The request for a policy of a name, pneumo's own or a plugin's.

        Raises:
            UsageError: the name is unknown or ambiguous.
        """
        entry = find_registered(registry, policy, SPLITS)
        return cls(policy, fraction, seed, folds, fold, entry)

    def split(self, records: Sequence[Record], classes: Sequence[str]) -> Split:
        """Split all records of a dataset; raises as these functions and :func:`split_by` do."""
        if self.folds:
            return fold_split(records, self.folds, self.fold, self.seed, classes)
        if self.registered is not None:
            return split_by(self.registered, records, self.policy, self.fraction, self.seed)
        return split_records(records, cast("Policy", self.policy), self.fraction, self.seed, classes)


@dataclass(frozen=True)
class PreparedData(FormerNames, former={"levels": "gray_levels"}):
    """A dataset, ready for a run.

    Attributes:
        dataset: source of the records.
        size: height and width of the images, in pixels.
        images: uint8 [N, size, size], of 16 bits uint16, of several channels [N, C, size, size]; row i is record
            i; memory-mapped from the cache, read-only.
        labels: class indices, int64 [N]; of a multilabel dataset int64 [N, K]: 1 present, 0 absent, -1 unknown;
            without classes zeros [N].
        split: positions of the readable images of the wanted classes.
        others: the same split of the images of the other classes; empty if all are wanted.
        unreadable: name and reason of every image that could not be decoded.
        overlaps: what the sets of the split have in common.
        masks: uint8 [N, size, size] by the name of each target of kind ``mask``, 255 unknown; memory-mapped as the
            images are.
        numbers: float32 [N] by the name of each target of kind ``number``; NaN: unknown.
        boxes: float32 [N, M, 4], (left, top, right, bottom) as shares of width and height, filled up with NaN to
            the largest number of boxes M; None without a target of kind ``boxes``.
        images_digest: SHA-256 of images and masks, hexadecimal: of what was read, while the fingerprint is of what
            there was to read.
    """

    dataset: Dataset
    size: int
    images: np.memmap[Any, np.dtype[Any]]
    labels: NDArray[np.int64]
    split: Split
    others: Split
    unreadable: tuple[tuple[str, str], ...]
    overlaps: Overlaps
    masks: Mapping[str, np.memmap[Any, np.dtype[np.uint8]]] = field(default_factory=dict)
    numbers: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    boxes: NDArray[np.float32] | None = None
    images_digest: str = ""

    @property
    def task(self) -> Task:
        """What a classifier of these images decides."""
        return self.dataset.task

    @property
    def fingerprint(self) -> str:
        """The dataset's fingerprint, hexadecimal."""
        return self.dataset.fingerprint

    @property
    def gray(self) -> NDArray[np.uint8] | GrayImages:
        """The images, uint8 [N, size, size]: of several channels or 16 bits made into such when asked for."""
        if self.images.ndim == 3 and self.images.dtype == np.uint8:
            return self.images
        return GrayImages(self.images)

    def table(self) -> list[SplitRow]:
        """Return the class table: a row each for train, validation and test (the report's figure 3)."""
        return class_table(self.dataset.records, self.dataset.classes, self.split)

    def gray_levels(self, positions: NDArray[np.int64]) -> torch.Tensor:
        """Return the images at some positions of the records, uint8 [n, size, size] on the CPU, a copy.

        Several channels are one gray image, and 16 bits are 8: :func:`pneumo_cli.data.resizing.gray_in_8_bits`.
        """
        import torch

        return torch.from_numpy(self.gray[positions])

    def images_on(self, device: torch.device) -> torch.Tensor:
        """Return ``images`` as a tensor: on the CPU a read-only view of the mapped file, else a copy."""
        import torch

        with warnings.catch_warnings():
            # Writing to the view would crash the process; no user of this tensor does.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(self.images).to(device)


def prepare(
    dataset: Dataset,
    *,
    size: int,
    split: SplitRequest,
    cache: Path,
    progress: Progress,
    skip_unreadable: bool,
    only: str = "",
    decode: Callable[[Dataset, int, Path, Progress], DecodedImages] = decoded_images,
) -> PreparedData:
    """Split and decode a dataset.

    Args:
        dataset: source of the records.
        size: height and width that all images are resized to, in pixels.
        split: how to divide the train pool.
        cache: folder of decoded images and content hashes.
        progress: shows long steps.
        skip_unreadable: exclude unreadable images, after splitting, so that the others stay in their sets.
        only: the class to keep; empty: all. The split is made before, so that it is the same for every class.
        decode: what gives the images, :func:`~pneumo_cli.data.cache.decoded_images` or one with its arguments.

    Raises:
        DataError: there are unreadable images that are not to be skipped, a class has no image for training or
            validation, or the test pool is empty.
        UsageError: an argument is out of its range, or the cache folder cannot be used.
        PneumoError: the cache cannot be written.
    """
    if size < 1:
        raise UsageError(f"the image size has to be at least 1 pixel, not {size}")
    if only and only not in dataset.classes:
        hint = nearest(only, dataset.classes) if dataset.classes else "it has no classes"
        raise UsageError(
            f"the dataset {dataset.name} has no class {only!r}; {hint} (--images-of chooses the class, and "
            '--images-of "" all images)'
        )
    if not any(record.pool == "test" for record in dataset.records):
        raise DataError(f"the dataset {dataset.name} ({dataset.place}) has no test images")
    decoded = decode(dataset, size, cache, progress)
    # Files that a failed download left empty are identical, but not images of one patient.
    records = [
        replace(record, digest=UNREADABLE + record.name) if position in decoded.unreadable else record
        for position, record in enumerate(dataset.records)
    ]
    unreadable = tuple((records[position].name, reason) for position, reason in decoded.unreadable.items())
    shown = "; ".join(f"{name} ({reason})" for name, reason in unreadable[:_SHOWN])
    more = f"; and {len(unreadable) - _SHOWN} more" if len(unreadable) > _SHOWN else ""
    damage = f"{len(unreadable)} of {len(records)} images in {dataset.place} cannot be read: {shown}{more}"
    if unreadable and not skip_unreadable:
        raise DataError(f"{damage}. Replace them, or leave them out with --skip-unreadable")
    everything = split.split(records, dataset.classes).without(decoded.unreadable)
    wanted = {dataset.classes.index(only)} if only else set(range(len(dataset.classes)))
    kept = everything
    if only:
        kept = everything.where(lambda position: not wanted.isdisjoint(records[position].present))
    try:
        check_classes(dataset, kept, wanted, only)
    except DataError as error:
        raise DataError(f"{error}; {damage}") if unreadable else error from None
    return PreparedData(
        dataset=dataset,
        size=size,
        images=decoded.images,
        labels=np.array([record.labels or record.label for record in records], np.int64),
        split=kept,
        others=everything.where(lambda position: bool(only) and wanted.isdisjoint(records[position].present)),
        unreadable=unreadable,
        overlaps=overlaps(records, kept),
        masks=decoded.masks,
        numbers=_numbers(dataset),
        boxes=_boxes(dataset),
        images_digest=decoded.digest,
    )


def _numbers(dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    names = [target.name for target in dataset.targets if target.kind == "number"]
    if not names:
        return {}
    values = np.array([record.numbers for record in dataset.records], np.float32)
    return {name: np.ascontiguousarray(values[:, place]) for place, name in enumerate(names)}


def _boxes(dataset: Dataset) -> NDArray[np.float32] | None:
    if not any(target.kind == "boxes" for target in dataset.targets):
        return None
    most = max((len(record.boxes) for record in dataset.records), default=0)
    boxes = np.full((len(dataset.records), most, 4), np.nan, np.float32)
    for position, record in enumerate(dataset.records):
        if record.boxes:
            boxes[position, : len(record.boxes)] = record.boxes
    return boxes


def check_classes(dataset: Dataset, split: Split, wanted: set[int], only: str = "") -> None:
    """Check that each set shows every wanted class, and in a multilabel dataset also images without it.

    A rare label may have no test image, and none in a given validation split: its metrics are then left out.

    Args:
        wanted: the classes, as indices.
        only: the only class that is used; empty: all are.

    Raises:
        DataError: a class is missing.
    """
    several = dataset.multilabel and not only
    optional = ("validation", "test") if split.policy == "given" else ("test",)
    for name, positions in split.parts().items():
        if (split.policy == "all" and name == "validation") or (
            several and name in optional and len(positions)
        ):
            continue
        if not len(positions) and not dataset.classes:
            raise DataError(f"{dataset.name} ({dataset.place}) has no readable image for {name}")
        missing = dict.fromkeys(wanted - shown_classes(dataset.records, positions.tolist()), "{} image")
        if several:
            known = np.array([dataset.records[position].labels for position in positions], np.int64)
            missing |= {label: "image without {}" for label in wanted if not (known[:, label] == 0).any()}
        if missing:
            label = min(missing)
            what = missing[label].format(dataset.classes[label])
            hint = ": --classes may leave it out" if len(dataset.classes) > 2 and not only else ""
            raise DataError(f"{dataset.name} ({dataset.place}) has no readable {what} for {name}{hint}")
