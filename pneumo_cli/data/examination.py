"""What ``pneumo data check`` and reports say on a dataset beside its images: how it was made, what it leaves out.

:func:`examine` checks a dataset of any size without decoding an image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.container_differences import storage_shortcuts
from pneumo_cli.data.file_kinds import is_image
from pneumo_cli.data.files import UNREADABLE, ImageFiles
from pneumo_cli.data.prepare import PreparedData, SplitRequest, check_classes
from pneumo_cli.data.records import Dataset, UnusedFiles
from pneumo_cli.data.source import title_of
from pneumo_cli.data.splits import Overlaps, Split, SplitRow, class_table, overlaps
from pneumo_cli.errors import DataError, PneumoError
from pneumo_cli.runtime.plugin_errors import plugin_errors

_HEADERS = 400  # files whose headers are read
_EXAMPLES = 3
_KINDS = 5  # kinds of files that are named before a run


@dataclass(frozen=True)
class Examination:
    """What was found in a dataset, and in its split.

    Attributes:
        dataset: source of the records.
        split: positions of its images.
        overlaps: what the sets of the split have in common.
        unreadable: name and reason of every image that cannot be read.
        decoded: whether the images were decoded; if not, only files that cannot be opened are unreadable.
    """

    dataset: Dataset
    split: Split
    overlaps: Overlaps
    unreadable: tuple[tuple[str, str], ...]
    decoded: bool

    def table(self) -> list[SplitRow]:
        """The class table: a row each for train, validation and test."""
        return class_table(self.dataset.records, self.dataset.classes, self.split)


def examine(dataset: Dataset, request: SplitRequest) -> Examination:
    """Split a dataset, and compare the contents of its files, without decoding an image.

    Raises:
        DataError: a class has no image for training or validation, or there are no test images.
        UsageError: an argument of the split is out of its range.
    """
    records = dataset.records
    if not any(record.pool == "test" for record in records):
        raise DataError(f"the dataset {dataset.name} ({dataset.place}) has no test images")
    split = request.split(records, dataset.classes)
    check_classes(dataset, split, set(range(len(dataset.classes))))
    unreadable = tuple(
        (record.name, "its file cannot be read") for record in records if record.digest.startswith(UNREADABLE)
    )
    return Examination(dataset, split, overlaps(records, split), unreadable, decoded=False)


def examined(data: PreparedData) -> Examination:
    """The same of a dataset whose images were decoded."""
    return Examination(data.dataset, data.split, data.overlaps, data.unreadable, decoded=True)


def label_counts(dataset: Dataset) -> list[dict[str, Any]]:
    """For each label the number of images where it is present, absent and unknown; empty for exclusive classes."""
    if not dataset.multilabel:
        return []
    counts = [Counter(values) for values in zip(*(record.labels for record in dataset.records), strict=True)]
    return [
        {"name": name, "present": of[1], "absent": of[0], "unknown": of[-1]}
        for name, of in zip(dataset.classes, counts, strict=True)
    ]


def class_patients(dataset: Dataset, positions: NDArray[np.int64]) -> dict[str, int]:
    """The number of patients who have an image of each class, among the images at some positions."""
    patients: dict[int, set[str]] = {place: set() for place in range(len(dataset.classes))}
    for position in positions.tolist():
        record = dataset.records[position]
        for place in patients.keys() & set(record.present):
            patients[place].add(record.patient)
    return {name: len(patients[place]) for place, name in enumerate(dataset.classes)}


def facts(dataset: Dataset, *, decoded: bool) -> dict[str, Any]:
    """How the records of a dataset were made, and the files that it leaves out, as JSON-compatible values.

    Args:
        decoded: whether its images were decoded; else nothing is said on their gray levels, and on classes that can
            be told from how their files are stored.
    """
    return {
        "task": dataset.task if dataset.classes else "",
        "notes": list(dataset.notes),
        "labels": label_counts(dataset),
        "unused": [
            {"kind": one.kind, "count": one.count, "examples": list(one.examples), "images": one.images}
            for one in unused(dataset)
        ],
        "gray_scaling": _gray_scaling(dataset) if decoded else "",
        "storage": storage_shortcuts(dataset, limit=_HEADERS) if decoded else [],
    }


def _gray_scaling(dataset: Dataset) -> str:
    message = f"{title_of(dataset)}: gray_scaling failed"
    with plugin_errors(message, passing=(PneumoError, OSError), kind=DataError):
        return str(dataset.gray_scaling)


def unused(dataset: Dataset) -> tuple[UnusedFiles, ...]:
    """The files below a dataset's root that it does not use, also those that are never listed."""
    files = getattr(dataset, "files", None)
    skipped = files.skipped if isinstance(files, ImageFiles) else {}
    return (
        *dataset.unused,
        *(
            UnusedFiles(reason, len(names), tuple(names[:_EXAMPLES]), any(map(is_image, names)))
            for reason, names in skipped.items()
        ),
    )


def unused_images(dataset: Dataset) -> list[str]:
    """A line for each kind of images that are not used, at most five and one for the others."""
    kinds = sorted((one for one in unused(dataset) if one.images), key=lambda one: -one.count)
    lines = [f"not used: {one}" for one in kinds[:_KINDS]]
    if len(kinds) > _KINDS:
        lines.append(f"not used: {len(kinds) - _KINDS} more kinds of files; pneumo data check names them")
    return lines
