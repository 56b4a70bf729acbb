"""What two splits have in common: patients, and images, be they the same file, the same pixels, or altered copies.

Counting by names and file contents alone is :func:`pneumo_cli.data.splits.overlaps`; this looks at the pictures.
How one picture is found to be a copy of another is :mod:`pneumo_cli.data.near_duplicates`.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.near_duplicates import SMALLEST, NearDuplicateIndex
from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import UnreadableImage

Kind = Literal["bytes", "pixels", "near"]
Positions = NDArray[np.int64]

_NEARLY_EQUAL = 0.99  # correlation from which on two originals may hold the same pixels


@dataclass(frozen=True)
class Pair:
    """Two records whose images are the same.

    Attributes:
        kind: ``bytes``: the same file twice. ``pixels``: different files, the same grey levels. ``near``: one is an
            altered copy of the other.
        first, second: positions of the records.
        bits: in how many of 255 their perceptual hashes differ.
        correlation: of local contrast after alignment, at most 1.
        mirrored: one is the mirror image of the other.
    """

    kind: Kind
    first: int
    second: int
    bits: int = 0
    correlation: float = 1.0
    mirrored: bool = False


@dataclass(frozen=True)
class Leak:
    """What two splits have in common.

    Attributes:
        first, second: names of the splits.
        patients: keys of the patients with images in both, sorted.
        images: number of images in ``second`` whose patient is also in ``first``.
        pairs: of an image in ``first`` and one in ``second``, the certain ones first.
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
        """The number of images in ``second`` that have such a pair in ``first``."""
        return len({pair.second for pair in self.pairs if pair.kind == kind})

    def plain(self) -> dict[str, Any]:
        """The counts, as JSON can hold them; ``near`` is 0 too where images are too small to tell."""
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
    """All that the splits have in common.

    Attributes:
        pairs: of train and validation, train and test, validation and test.
        left_out: of the records that the split leaves out for the sake of the test pool, and the test pool.
        compared: False where the images are too small for altered copies to be found.
    """

    pairs: tuple[Leak, ...]
    left_out: Leak
    compared: bool

    @property
    def leaks(self) -> bool:
        """True where a patient or an image is on two sides of the split."""
        return any(pair.leaks for pair in self.pairs)


def index_near_duplicates(data: PreparedData) -> NearDuplicateIndex | None:
    """What finds altered copies among all records; None where the images are too small for it."""
    return NearDuplicateIndex(data.images) if data.size >= SMALLEST else None


def find_leaks(data: PreparedData, copies: NearDuplicateIndex | None = None) -> Leaks:
    """Find what train, validation and test have in common.

    Args:
        data: of any size; altered copies are found from 32 px on, the more surely the larger the images are.
        copies: of :func:`index_near_duplicates`, if there is one already.

    Equal pixels are equal at the size of the data; :func:`at_original_size` looks closer. On one core 5,856 images
    take about three seconds.
    """
    index = copies or index_near_duplicates(data)
    twins = _Twins(data)
    parts = data.split.parts()
    pairs = tuple(
        _between(data, index, twins, (first, parts[first]), (second, parts[second]))
        for first, second in combinations(parts, 2)
    )
    left_out = _between(data, index, twins, ("left out", data.split.excluded), ("test", data.split.test))
    return Leaks(pairs, left_out, compared=index is not None)


def near_duplicates_within(
    data: PreparedData, copies: NearDuplicateIndex | None = None
) -> dict[str, tuple[Pair, ...]]:
    """Find images within one split that are the same and yet of two patients, by split.

    No leak: but the patient keys, by which a split is made, are not to be trusted then.
    """
    index = copies or index_near_duplicates(data)
    twins = _Twins(data)
    records = data.dataset.records
    found = {}
    for name, positions in data.split.parts().items():
        pairs = _same_images(index, twins, positions, positions)
        found[name] = tuple(
            pair for pair in pairs if records[pair.first].patient != records[pair.second].patient
        )
    return found


def at_original_size(leaks: Leaks, dataset: Dataset) -> Leaks:
    """Tell equal pixels from nearly equal ones by the images as they are stored, not as they were resized."""

    def looked_at(leak: Leak) -> Leak:
        return replace(leak, pairs=_ordered(_look_again(pair, dataset) for pair in leak.pairs))

    return replace(leaks, pairs=tuple(map(looked_at, leaks.pairs)), left_out=looked_at(leaks.left_out))


class _Twins:
    """Which records hold equal bytes, and which equal pixels; an image without any contrast is nobody's twin."""

    def __init__(self, data: PreparedData) -> None:
        self.digests = [record.digest for record in data.dataset.records]
        self.images = data.images
        self.sums = {
            int(position): zlib.crc32(data.images[position].tobytes())
            for part in (*data.split.parts().values(), data.split.excluded)
            for position in part
        }

    def bytes(self, first: Positions, second: Positions) -> set[tuple[int, int]]:
        return _equal(first, second, lambda position: self.digests[position])

    def pixels(self, first: Positions, second: Positions) -> set[tuple[int, int]]:
        alike = _equal(first, second, lambda position: self.sums[position])
        return {
            (a, b)
            for a, b in alike
            if np.ptp(self.images[a]) and np.array_equal(self.images[a], self.images[b])
        }


def _equal(first: Positions, second: Positions, key: Any) -> set[tuple[int, int]]:
    having = defaultdict(list)
    for position in first.tolist():
        having[key(position)].append(position)
    within = first is second
    return {(a, b) for b in second.tolist() for a in having.get(key(b), ()) if not within or a < b}


def _between(
    data: PreparedData,
    index: NearDuplicateIndex | None,
    twins: _Twins,
    first: tuple[str, Positions],
    second: tuple[str, Positions],
) -> Leak:
    records = data.dataset.records
    known = {records[position].patient for position in first[1]}
    shared = [records[position].patient for position in second[1] if records[position].patient in known]
    return Leak(
        first=first[0],
        second=second[0],
        patients=tuple(sorted(set(shared))),
        images=len(shared),
        pairs=_same_images(index, twins, first[1], second[1]),
    )


def _same_images(
    index: NearDuplicateIndex | None, twins: _Twins, first: Positions, second: Positions
) -> tuple[Pair, ...]:
    if not len(first) or not len(second):
        return ()
    identical = twins.bytes(first, second)
    equal = twins.pixels(first, second) - identical
    pairs = [Pair("bytes", a, b) for a, b in identical] + [Pair("pixels", a, b) for a, b in equal]
    known = identical | equal
    if index is not None:
        pairs += [
            Pair("near", match.first, match.second, match.bits, match.correlation, match.mirrored)
            for match in index.between(first, second)
            if (match.first, match.second) not in known
        ]
    return _ordered(pairs)


def _ordered(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    rank = {"bytes": 0, "pixels": 1, "near": 2}
    return tuple(
        sorted(pairs, key=lambda pair: (rank[pair.kind], -pair.correlation, pair.first, pair.second))
    )


def _look_again(pair: Pair, dataset: Dataset) -> Pair:
    if pair.kind == "bytes" or pair.mirrored or pair.correlation < _NEARLY_EQUAL:
        return pair
    try:
        first, second = (dataset.read(dataset.records[position]) for position in (pair.first, pair.second))
    except UnreadableImage:  # was readable when the cache was made, and the pair was found then
        return pair
    return replace(pair, kind="pixels" if np.array_equal(first, second) else "near")
