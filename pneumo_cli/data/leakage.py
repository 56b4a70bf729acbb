"""Leakage between splits: shared patients, identical files, identical pixels, and altered copies of images.

:func:`pneumo_cli.data.splits.overlaps` counts by patient keys and file contents alone; here images are compared.
:mod:`pneumo_cli.data.near_duplicates` finds the altered copies.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations, starmap
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.near_duplicates import SMALLEST, NearDuplicateIndex
from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import UnreadableImage

Kind = Literal["bytes", "pixels", "near"]
Positions = NDArray[np.int64]

_NEARLY_EQUAL = 0.99  # correlation from which on two original images may have the same pixels


@dataclass(frozen=True)
class Pair:
    """Two records with the same image.

    Attributes:
        kind: ``bytes``: identical files. ``pixels``: different files with the same gray levels. ``near``: one is an
            altered copy of the other.
        first, second: positions of the records.
        bits: number of different bits of their perceptual hashes, of 255.
        correlation: of local contrast after alignment, at most 1.
        flipped: one is a horizontally flipped copy of the other.
    """

    kind: Kind
    first: int
    second: int
    bits: int = 0
    correlation: float = 1.0
    flipped: bool = False


@dataclass(frozen=True)
class Leak:
    """What two splits have in common.

    Attributes:
        first, second: names of the splits.
        patients: keys of the patients with images in both, sorted.
        images: number of images in ``second`` whose patient is also in ``first``.
        pairs: an image in ``first`` and one in ``second``, the certain ones first.
    """

    first: str
    second: str
    patients: tuple[str, ...]
    images: int
    pairs: tuple[Pair, ...]

    @property
    def leaks(self) -> bool:
        """True where a patient or an image is on both sides."""
        return bool(self.patients or self.pairs)

    def count(self, kind: Kind) -> int:
        """Number of images in ``second`` with such a pair in ``first``."""
        return len({pair.second for pair in self.pairs if pair.kind == kind})

    def plain(self) -> dict[str, Any]:
        """The counts for JSON; ``near`` is 0 where the images are too small to be compared."""
        return {
            "between": [self.first, self.second],
            "patients": len(self.patients),
            "images": self.images,
            "identical": self.count("bytes"),
            "pixels": self.count("pixels"),
            "near": self.count("near"),
        }


@dataclass(frozen=True)
class Leaks:
    """The leaks between all splits.

    Attributes:
        pairs: train and validation, train and test, validation and test.
        left_out: the records that the split excludes because of the test pool, and the test pool.
        compared: False where the images are too small for finding altered copies.
    """

    pairs: tuple[Leak, ...]
    left_out: Leak
    compared: bool

    @property
    def leaks(self) -> bool:
        """True where a patient or an image is on two sides of the split."""
        return any(pair.leaks for pair in self.pairs)


def index_near_duplicates(data: PreparedData) -> NearDuplicateIndex | None:
    """The index of near-duplicates among all records; None where the images are too small for it."""
    return NearDuplicateIndex(data.gray) if data.size >= SMALLEST else None


def find_leaks(data: PreparedData, index: NearDuplicateIndex | None = None) -> Leaks:
    """Find what train, validation and test have in common.

    Pixels are compared at the size of the data; :func:`at_original_size` compares the original images. On one core
    5,856 images take about three seconds.

    Args:
        data: of any size; altered copies are found from 32 px on, and more reliably the larger the images are.
        index: from :func:`index_near_duplicates`, if it exists already.
    """
    comparison = _Comparison(data, index)
    pairs = tuple(starmap(comparison.leak, combinations(data.split.parts().items(), 2)))
    left_out = comparison.leak(("left out", data.split.excluded), ("test", data.split.test))
    return Leaks(pairs, left_out, compared=comparison.index is not None)


def near_duplicates_within(
    data: PreparedData, index: NearDuplicateIndex | None = None
) -> dict[str, tuple[Pair, ...]]:
    """Find pairs of the same image under two patients within one split, by split.

    These are no leaks, but mean that the patient keys, on which splits are based, cannot be trusted.
    """
    comparison, records = _Comparison(data, index), data.dataset.records
    return {
        name: tuple(
            pair
            for pair in comparison.pairs(positions, positions)
            if records[pair.first].patient != records[pair.second].patient
        )
        for name, positions in data.split.parts().items()
    }


def at_original_size(leaks: Leaks, dataset: Dataset) -> Leaks:
    """Tell equal pixels from nearly equal ones by the original images instead of the resized ones."""

    def compared(leak: Leak) -> Leak:
        return replace(leak, pairs=_ordered(_compared_at_original_size(pair, dataset) for pair in leak.pairs))

    return replace(leaks, pairs=tuple(map(compared, leaks.pairs)), left_out=compared(leaks.left_out))


class _Comparison:
    """Finds records with the same image. Images without any contrast are compared by their bytes alone."""

    def __init__(self, data: PreparedData, index: NearDuplicateIndex | None) -> None:
        self.index = index or index_near_duplicates(data)
        self._records = data.dataset.records
        self._images = data.images
        self._checksums = {
            position: zlib.crc32(data.images[position].tobytes())
            for part in (*data.split.parts().values(), data.split.excluded)
            for position in part.tolist()
        }

    def leak(self, first: tuple[str, Positions], second: tuple[str, Positions]) -> Leak:
        """What two splits have in common."""
        patients = {self._records[position].patient for position in first[1]}
        shared = [self._records[position].patient for position in second[1]]
        shared = [patient for patient in shared if patient in patients]
        pairs = self.pairs(first[1], second[1])
        return Leak(first[0], second[0], tuple(sorted(set(shared))), images=len(shared), pairs=pairs)

    def pairs(self, first: Positions, second: Positions) -> tuple[Pair, ...]:
        """The same images in two sets of positions, or within one."""
        if not len(first) or not len(second):
            return ()
        identical = _equal(first, second, lambda position: self._records[position].digest)
        equal = _equal(first, second, self._checksums.__getitem__) - identical
        equal = {(a, b) for a, b in equal if self._equal_pixels(a, b)}
        certain = identical | equal
        pairs = [Pair("bytes", a, b) for a, b in identical] + [Pair("pixels", a, b) for a, b in equal]
        if self.index is not None:
            pairs += [
                Pair("near", match.first, match.second, match.bits, match.correlation, match.flipped)
                for match in self.index.between(first, second)
                if (match.first, match.second) not in certain
            ]
        return _ordered(pairs)

    def _equal_pixels(self, first: int, second: int) -> bool:
        image = self._images[first]
        return bool(np.ptp(image)) and np.array_equal(image, self._images[second])


def _equal(first: Positions, second: Positions, key: Callable[[int], Hashable]) -> set[tuple[int, int]]:
    """Pairs of positions with equal keys; within one set each pair once."""
    by_key = defaultdict(list)
    for position in first.tolist():
        by_key[key(position)].append(position)
    within = first is second
    return {(a, b) for b in second.tolist() for a in by_key.get(key(b), ()) if not within or a < b}


def _ordered(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    rank = {"bytes": 0, "pixels": 1, "near": 2}
    return tuple(sorted(pairs, key=lambda one: (rank[one.kind], -one.correlation, one.first, one.second)))


def _compared_at_original_size(pair: Pair, dataset: Dataset) -> Pair:
    if pair.kind == "bytes" or pair.flipped or pair.correlation < _NEARLY_EQUAL:
        return pair
    try:
        first, second = (dataset.read(dataset.records[position]) for position in (pair.first, pair.second))
    except UnreadableImage:  # it was readable when the cache was written
        return pair
    return replace(pair, kind="pixels" if np.array_equal(first, second) else "near")
