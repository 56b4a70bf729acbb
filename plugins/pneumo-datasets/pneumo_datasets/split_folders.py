"""Names of splits, and the test set of a dataset that has none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from pneumo_cli import DataError
from pneumo_cli.data import Record, split_records

SplitName = Literal["train", "validation", "test"]

SEED = 42
"""Of the test set that is made of the other images."""

_SHOWN = 5  # classes that a message names
_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_NAME = re.compile(rf"({'|'.join(_WORDS)})(?:[ _-]?(?:set|data|split|images))?", re.IGNORECASE)


@lru_cache(maxsize=1024)  # it is asked for the folders of each image
def split_named(name: str) -> SplitName | None:
    """The split that a folder or a value is called after; None: none.

    >>> split_named("Valid"), split_named("test_set"), split_named("NORMAL")
    ('validation', 'test', None)
    """
    match = _NAME.fullmatch(name.strip())
    return _WORDS[match[1].lower()] if match else None


def with_test_pool(
    records: Sequence[Record], classes: Sequence[str], fraction: float, place: str
) -> tuple[list[Record], tuple[str, ...]]:
    """Give a dataset without test images a test pool: a share of its patients, stratified.

    Patients that have images in the dataset's own validation split stay where they are.

    Args:
        records: of a dataset.
        classes: names of its classes.
        fraction: share of the training images.
        place: as messages show it.

    Returns:
        the records, and what was done in a sentence; no sentence if there is a test pool already.

    Raises:
        DataError: a class has too few patients.
    """
    records = list(records)
    if any(record.pool == "test" for record in records):
        return records, ()
    # What is in the "test" pool here is kept apart, with all images of its patients.
    apart = [replace(record, pool="test") if record.validation else record for record in records]
    try:
        chosen = split_records(apart, "patient", fraction, SEED).validation.tolist()
    except DataError:
        chosen = []
    shown = {label for position in chosen for label in records[position].present}
    patients: list[set[str]] = [set() for _ in classes]
    for record in apart:
        if record.pool == "train":
            for label in record.present:
                patients[label].add(record.patient)
    if missing := sorted(set(range(len(classes))) - shown, key=lambda label: len(patients[label])):
        few = [label for label in missing if len(patients[label]) < 2] or missing[:1]
        rarest = ", ".join(f"{classes[label]} ({len(patients[label])})" for label in few[:_SHOWN])
        fewer = ", or fewer classes (--classes)" if len(classes) > 2 else ""
        raise DataError(
            f"{place} has no test images, and too few patients of {rarest} to set {100 * fraction:.0f} % of the "
            f"images aside for a test: add images, a test folder, or another --test-fraction{fewer}"
        )
    for position in chosen:
        records[position] = replace(records[position], pool="test")
    without = ", without those for validation" if any(record.validation for record in records) else ""
    return records, (
        f"The data have no test set: {len(chosen):,} of the images (about {100 * fraction:.0f} %{without}) were "
        f"set aside for it, by patient and stratified by class, with the seed {SEED}.",
    )
