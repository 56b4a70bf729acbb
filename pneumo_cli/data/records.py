"""A dataset: records, and a way to read the image of each record.

A dataset plugin provides the images with their labels and patients. Splits, caching, augmentation, fingerprints and
audits are part of the core, for every dataset.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.registry import Entry
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import DatasetSpec

Pool = Literal["train", "test"]
"""What an image is for: training, of which a split takes the validation images, or the test."""

Task = Literal["binary", "multiclass", "multilabel"]
"""What a classifier decides: two classes, one of K exclusive classes, or any of K labels at once."""


@dataclass(frozen=True)
class Target:
    """Something to learn that a dataset gives beside its classes, or in their place.

    Attributes:
        name: a lower-case identifier; ``Batch.targets`` has it under this name.
        kind: ``number``: float32 [B] of ``Record.numbers``, NaN where it is unknown. ``mask``: uint8 [B, S, S] of
            :meth:`Dataset.read_mask`, in the geometry of the batch's images. ``boxes``: float32 [B, M, 4] of
            ``Record.boxes``, in the geometry of the batch's images, filled up with NaN.
        summary: one line, with the unit of a number: "age in years".
    """

    name: str
    kind: Literal["number", "mask", "boxes"]
    summary: str


@dataclass(frozen=True, slots=True)
class Record:
    """One image with its label and patient.

    Attributes:
        name: unique and stable within the dataset, and readable (``train/NORMAL/IM-0115-0001.jpeg``).
        label: index into ``Dataset.classes``; 0 in a multilabel dataset.
        patient: key of the patient; records with equal keys are images of one person.
        pool: the dataset's own division: ``train`` (to be split further) or ``test``.
        digest: hexadecimal content hash; records with equal digests are identical bytes.
        subtype: a finer class where there is one (``bacteria``, ``virus``), else empty.
        labels: in a multilabel dataset one value for each of ``Dataset.classes``: 1 present, 0 absent, -1 unknown.
        view: the projection where it is known (``PA``, ``AP``, ``lateral``), else empty.
        validation: whether it is in the dataset's own validation split, which the split policy ``given`` keeps.
        numbers: one for each of ``Dataset.targets`` of kind ``number``, in their order; NaN: unknown.
        boxes: (left, top, right, bottom) of each box, as shares of width and height from 0 to 1.
    """

    name: str
    label: int
    patient: str
    pool: Pool
    digest: str
    subtype: str = ""
    labels: tuple[int, ...] = ()
    view: str = ""
    validation: bool = False
    numbers: tuple[float, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def present(self) -> tuple[int, ...]:
        """The classes that the image shows, as indices into ``Dataset.classes``."""
        return present_labels(self.label, self.labels)


def present_labels(label: int, labels: Sequence[int]) -> tuple[int, ...]:
    """The classes that an image of this ``Record.label`` and these ``Record.labels`` shows, as indices."""
    return tuple(place for place, value in enumerate(labels) if value == 1) if labels else (label,)


@dataclass(frozen=True)
class UnusedFiles:
    """Files below a dataset's root that are not used, of one kind.

    Attributes:
        kind: why they are not used, in words that follow a number of files: ``in the folder train/COVID19``.
        count: number of files.
        examples: the first few of their names.
        images: whether images are, or may be, among them.
    """

    kind: str
    count: int
    examples: tuple[str, ...]
    images: bool = True

    def __str__(self) -> str:
        shown = ", ".join(self.examples) + (", …" if self.count > len(self.examples) else "")
        return f"{self.count:,} {'file' if self.count == 1 else 'files'} {self.kind} ({shown})"


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """The argument of a dataset factory.

    Attributes:
        root: the folder or archive that the user named or imported, if any.
        cache: a folder for files that may be deleted at any time (content hashes, decoded images).
        progress: shows long steps.
        options: the dataset's own options (``DatasetSpec.settings``), validated, by name.
    """

    root: Path | None
    cache: Path
    progress: Progress
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetSource:
    """What a dataset was opened from.

    Attributes:
        entry: the registered dataset.
        root: the folder or archive of its images, absolute; empty: it has none.
        options: its own, by name.
    """

    entry: Entry[DatasetSpec]
    root: str
    options: Mapping[str, Any]


class Dataset(ABC):
    """Images with labels, patients and a train/test division.

    Attributes:
        name: the registered name.
        classes: class names; the index is the label. Index 1 is the positive class of a binary dataset. Empty: its
            images have no label.
        multilabel: whether an image may show several of the classes, or none of them (``Record.labels``).
        synthetic: True if the images are not of patients; stated in every report.
        origin: one sentence for the report: content, source and licence of the data.
        place: where the images are (a path, or how they are generated).
        records: all images, in the order of the source report: by label, then by file name (SOURCE 1).
        unused: the files below its root that it does not use.
        notes: what a reader has to know about the records, in sentences ("Each image counts as a patient.").
        targets: what it gives beside the classes, at most one of kind ``boxes``.
        channels: of its images: 1 gray, 3 red, green and blue, or one for each of several views of a study.
        bits: 8 or 16, of its gray levels.
        opened_from: set by pneumo, None where a factory is called directly.
    """

    name: str
    classes: tuple[str, ...]
    multilabel: bool = False
    synthetic: bool
    origin: str
    place: str
    records: Sequence[Record]
    unused: Sequence[UnusedFiles] = ()
    notes: Sequence[str] = ()
    targets: Sequence[Target] = ()
    channels: int = 1
    bits: Literal[8, 16] = 8
    opened_from: DatasetSource | None = None

    @property
    def task(self) -> Task:
        """What a classifier of these images decides."""
        if self.multilabel:
            return "multilabel"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def gray_scaling(self) -> str:
        """How stored values became gray levels, if their files do not state it; else empty. In words."""
        return ""

    @property
    def reading_modules(self) -> Sequence[str]:
        """Modules outside its own package that :meth:`read` uses: cached images depend on their source, too."""
        return ()

    @abstractmethod
    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """Decode one image to gray levels.

        Args:
            record: one of ``records``.
            size: the height and width in pixels that the caller will resize to. So that large JPEG files decode
                faster, the result may have this size or be at least twice as large. None: the original size.

        Returns:
            uint8 array [height, width], 0 black to 255 white. Of several ``channels`` [channels, height, width]; of
            16 ``bits`` uint16, 0 to 65535.

        Raises:
            UnreadableImage: it is damaged, or not an image; the message says why.
        """

    def read_mask(self, record: Record, target: str, size: int | None = None) -> NDArray[np.uint8]:
        """Read the mask of one image.

        Args:
            record: one of ``records``.
            target: the name of a target of kind ``mask``.
            size: as of :meth:`read`.

        Returns:
            uint8 array [height, width] of the image's proportions: 0 background, 1 (and further numbers) what the
            target names, 255 unknown.

        Raises:
            UnreadableImage: it is damaged or missing.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no masks")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the names, labels, patients, pools, targets and contents of all records, as hexadecimal."""
        digest = hashlib.sha256()
        for one in self.records:
            fields = [one.name, str(one.label), one.patient, one.pool, one.digest, one.subtype]
            if one.labels or one.validation:  # else as in version 0.2, whose runs are resumed
                fields += [",".join(map(str, one.labels)), str(one.validation)]
            if one.numbers:
                fields.append(f"numbers {[float(number) for number in one.numbers]}")
            if one.boxes:
                fields.append(f"boxes {[[float(side) for side in box] for box in one.boxes]}")
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()
