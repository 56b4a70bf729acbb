"""The dataset ``phantom``: its patients, their images, and how one is read.

Nothing is stored: a record names a patient and an image number, and reading it renders the image from random
streams that these numbers determine (:mod:`pneumo_phantom.rendering`).
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
from pneumo_phantom.settings import TRAIN_IMAGES
from pneumo_phantom.streams import Purpose, random_stream

VERSION = 2
"""Incremented whenever the images change: part of every digest, and so of the dataset's fingerprint."""

NORMAL, PNEUMONIA = 0, 1

_NORMAL_SHARE: dict[Pool, float] = {"train": 1 / (1 + 2.86), "test": 1 / (1 + 1.67)}
"""Class ratios of the source report's training split and test set (SOURCE 1)."""

_BACTERIA_SHARE = 0.65
"""Share of the PNEUMONIA images of Kermany et al. 2018 whose file name says ``bacteria``."""

_IMAGES_PER_PATIENT = (0.36, 0.30, 0.18, 0.10, 0.06)
"""Probability that a patient has 1, 2, … images."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The patients of one pool and class, before they are numbered: the number of images of each."""

    pool: Pool
    label: int
    images: tuple[int, ...]


class PhantomDataset(Dataset):
    """Synthetic anteroposterior chest radiographs of children of one to five years.

    A patient has one anatomy, one diagnosis and one to five images, which differ in positioning, inspiration and
    exposure. No patient is in both pools. ``seed`` determines everything; ``read`` is thread-safe.

    Args:
        train_images: images in the train pool, NORMAL : PNEUMONIA = 1 : 2.86, as in SOURCE 1.
        test_images: images in the test pool, 1 : 1.67.
        seed: another seed gives other patients from the same distribution.
        further_images: images of further patients in the train pool, in the same ratio; all other images stay.

    Raises:
        UsageError: a pool would have fewer than 8 images, or the seed or the further images are negative.
    """

    name = "phantom"
    classes = ("NORMAL", "PNEUMONIA")
    synthetic = True
    origin = (
        "Synthetic chest radiographs, rendered by pneumo-phantom from simulated anatomy: no patient is behind any "
        "of them, and no result on them holds for people."
    )

    def __init__(
        self,
        train_images: int = TRAIN_IMAGES,
        test_images: int = 300,
        seed: int = 0,
        further_images: int = 0,
    ) -> None:
        for pool, count in (("train", train_images), ("test", test_images)):
            if count < 8:
                raise UsageError(f"phantom: {count} images in the {pool} pool; at least 8 are needed")
        if seed < 0:
            raise UsageError(f"phantom: the seed is {seed}; it has to be 0 or more")
        if further_images < 0:
            raise UsageError(f"phantom: {further_images} further images; it has to be 0 or more")
        self.seed = seed
        self.place = f"rendered on demand (generator version {VERSION}, seed {seed})"
        self._subjects: dict[str, tuple[Subject, int]] = {}
        counts: dict[Pool, int] = {"train": train_images, "test": test_images}
        records = list(self._make_records(counts, random_stream(Purpose.COHORT, self.seed)))
        if further_images:
            # Another stream and higher numbers, so that the patients above stay who they are.
            rng = random_stream(Purpose.COHORT, self.seed, 1)
            patients = len({record.patient for record in records})
            records += self._make_records({"train": further_images}, rng, patients)
        self.records = tuple(sorted(records, key=lambda record: (record.label, record.name)))

    def _make_records(
        self, counts: dict[Pool, int], rng: np.random.Generator, numbered: int = 0
    ) -> Iterator[Record]:
        """Records of new patients, numbered from ``numbered`` + 1 on."""
        groups = [
            _Group(pool, label, _split_into_patients(rng, images))
            for pool, total in counts.items()
            for label, images in enumerate(_class_counts(pool, total))
        ]
        # Numbered at random across groups, so that a patient's number reveals neither label nor pool.
        numbers = iter(rng.permutation(sum(len(group.images) for group in groups)) + numbered + 1)
        for group in groups:
            for count in group.images:
                number = int(next(numbers))
                subtype = ""
                if group.label == PNEUMONIA:
                    subtype = "bacteria" if rng.random() < _BACTERIA_SHARE else "virus"
                subject = Subject(seed=self.seed, number=number, subtype=subtype)
                for image in range(1, count + 1):
                    yield self._make_record(subject, image, group)

    def _make_record(self, subject: Subject, image: int, group: _Group) -> Record:
        patient = f"phantom-{subject.number:04d}"
        name = f"{group.pool}/{self.classes[group.label]}/{patient}-{image:02d}.png"
        self._subjects[name] = (subject, image)
        # Everything that the image depends on, so that equal digests mean equal images.
        identity = f"phantom {VERSION} {self.seed} {subject.number} {image} {subject.subtype}"
        return Record(
            name=name,
            label=group.label,
            patient=patient,
            pool=group.pool,
            digest=hashlib.sha256(identity.encode()).hexdigest(),
            subtype=subject.subtype,
        )

    def subject_of(self, record: Record) -> tuple[Subject, int]:
        """The patient that a record's image shows, and the number of the image.

        Raises:
            UnreadableImage: it is none of this dataset.
        """
        try:
            return self._subjects[record.name]
        except KeyError:
            raise UnreadableImage(f"{record.name} is not an image of this phantom dataset") from None

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """Render one square image: 512 px, or ``size`` if that is less, but at least 128 px.

        Edges and strokes are anti-aliased analytically, so an image rendered at ``size`` equals the large one after
        downsampling.
        """
        subject, image = self.subject_of(record)
        return render(subject, image, rendered_size(size))


def rendered_size(size: int | None) -> int:
    """The width in pixels at which an image is rendered for a request of ``size``."""
    return NATIVE_SIZE if size is None else min(max(size, SMALLEST_SIZE), NATIVE_SIZE)


def _class_counts(pool: Pool, total: int) -> tuple[int, int]:
    """Number of NORMAL and of PNEUMONIA images in a pool of ``total``."""
    normal = round(total * _NORMAL_SHARE[pool])
    return normal, total - normal


def _split_into_patients(rng: np.random.Generator, images: int) -> tuple[int, ...]:
    """Images of each patient, ``images`` in total."""
    counts: list[int] = []
    while images:
        count = int(rng.choice(len(_IMAGES_PER_PATIENT), p=_IMAGES_PER_PATIENT)) + 1
        counts.append(min(count, images))
        images -= counts[-1]
    return tuple(counts)


def open_dataset(request: DatasetRequest) -> PhantomDataset:
    """The registered factory; the request's root and cache are not used."""
    return PhantomDataset(
        further_images=int(request.options.get("train_images", TRAIN_IMAGES)) - TRAIN_IMAGES
    )
