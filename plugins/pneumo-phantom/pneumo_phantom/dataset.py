"""The dataset ``phantom``: which patients there are, which pictures each has, and how one is read.

Nothing is stored: a record names a patient and a picture number, and reading it draws the picture from random
streams that those numbers alone select. What is drawn is the business of :mod:`pneumo_phantom.rendering`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumo_cli import UnreadableImage, UsageError
from pneumo_cli.data import Dataset, DatasetRequest, Pool, Record
from pneumo_phantom.rendering import NATIVE_SIZE, SMALLEST_SIZE, Subject, render
from pneumo_phantom.streams import Purpose, open_stream

VERSION = 2
"""Raised whenever the drawing changes: it is part of every digest, so of the dataset's fingerprint."""

NORMAL, PNEUMONIA = 0, 1

_NORMAL_SHARE: dict[Pool, float] = {"train": 1 / (1 + 2.86), "test": 1 / (1 + 1.67)}
"""Class ratios of the source's training split and test set (SOURCE 1)."""

_BACTERIA_SHARE = 0.65
"""Of the source's PNEUMONIA images, the share whose name says ``bacteria``."""

_PICTURES_PER_PATIENT = (0.36, 0.30, 0.18, 0.10, 0.06)
"""Probability that a patient has 1, 2, … pictures."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The patients of one pool and class, before they are numbered: one picture count each."""

    pool: Pool
    label: int
    pictures: tuple[int, ...]


class PhantomDataset(Dataset):
    """Drawn chest radiographs of children of one to five years, anteroposterior.

    A patient has one anatomy, one diagnosis and one to five pictures, which differ in position, inspiration
    and exposure. No patient is in both pools. Everything follows from ``seed``; ``read`` may be called from
    any number of threads.

    Args:
        train_images: pictures in the train pool; one NORMAL for 2.86 PNEUMONIA, as in SOURCE 1.
        test_images: pictures in the test pool; one NORMAL for 1.67 PNEUMONIA.
        seed: selects another, equally distributed set of patients.

    Raises:
        UsageError: a pool would have fewer than two pictures of a class.
    """

    name = "phantom"
    classes = ("NORMAL", "PNEUMONIA")
    synthetic = True
    origin = (
        "Synthetic chest radiographs drawn by pneumo-phantom from simple anatomy: no patient is behind any "
        "of them, and nothing learnt from them holds for people."
    )

    def __init__(self, train_images: int = 1200, test_images: int = 300, seed: int = 0) -> None:
        for pool, count in (("train", train_images), ("test", test_images)):
            if count < 8:
                raise UsageError(f"phantom: {count} images in the {pool} pool; at least 8 are needed")
        if seed < 0:
            raise UsageError(f"phantom: the seed is {seed}; it has to be 0 or more")
        self.seed = seed
        self.place = f"drawn on demand (generator version {VERSION}, seed {seed})"
        self._subjects: dict[str, tuple[Subject, int]] = {}
        counts: dict[Pool, int] = {"train": train_images, "test": test_images}
        self.records = tuple(sorted(self._make_records(counts), key=lambda each: (each.label, each.name)))

    def _make_records(self, counts: dict[Pool, int]) -> Iterator[Record]:
        rng = open_stream(Purpose.COHORT, self.seed)
        groups = [
            _Group(pool, label, _deal_pictures(rng, images))
            for pool, total in counts.items()
            for label, images in enumerate(_class_counts(pool, total))
        ]
        # Numbers are dealt across groups, so that a patient's number tells neither label nor pool.
        numbers = iter(rng.permutation(sum(len(group.pictures) for group in groups)) + 1)
        for group in groups:
            for pictures in group.pictures:
                number = int(next(numbers))
                subtype = ""
                if group.label == PNEUMONIA:
                    subtype = "bacteria" if rng.random() < _BACTERIA_SHARE else "virus"
                subject = Subject(seed=self.seed, number=number, subtype=subtype)
                for picture in range(1, pictures + 1):
                    yield self._make_record(subject, picture, group)

    def _make_record(self, subject: Subject, picture: int, group: _Group) -> Record:
        patient = f"phantom-{subject.number:04d}"
        name = f"{group.pool}/{self.classes[group.label]}/{patient}-{picture:02d}.png"
        self._subjects[name] = (subject, picture)
        # All that the drawing depends on, so that equal digests mean equal pictures.
        drawn_from = f"phantom {VERSION} {self.seed} {subject.number} {picture} {subject.subtype}"
        return Record(
            name=name,
            label=group.label,
            patient=patient,
            pool=group.pool,
            digest=hashlib.sha256(drawn_from.encode()).hexdigest(),
            subtype=subject.subtype,
        )

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """Draw one picture, square, 512 pixels wide or, where ``size`` asks for less, as small as 128.

        Edges and strokes are anti-aliased analytically, so a picture drawn at ``size`` is what the large one
        would be after resizing: drawing it at twice the size and resizing would only cost time.
        """
        try:
            subject, picture = self._subjects[record.name]
        except KeyError:
            raise UnreadableImage(f"{record.name} is not a picture of this phantom dataset") from None
        pixels = NATIVE_SIZE if size is None else min(max(size, SMALLEST_SIZE), NATIVE_SIZE)
        return render(subject, picture, pixels)


def _class_counts(pool: Pool, total: int) -> tuple[int, int]:
    """How many NORMAL and PNEUMONIA pictures a pool of ``total`` has."""
    normal = round(total * _NORMAL_SHARE[pool])
    return normal, total - normal


def _deal_pictures(rng: np.random.Generator, images: int) -> tuple[int, ...]:
    """Divide ``images`` pictures among as many patients as it takes."""
    dealt: list[int] = []
    while images:
        drawn = int(rng.choice(len(_PICTURES_PER_PATIENT), p=_PICTURES_PER_PATIENT)) + 1
        dealt.append(min(drawn, images))
        images -= dealt[-1]
    return tuple(dealt)


def open_dataset(request: DatasetRequest) -> PhantomDataset:
    """The factory behind the registered name; the request's root and cache are not needed."""
    return PhantomDataset()
