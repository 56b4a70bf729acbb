"""Training, validation and test sets: split policies, and overlaps between the sets.

The test pool is fixed by the dataset; a policy divides the train pool. ``source``, ``last`` and ``all`` are those
of the source report, image by image, so that patients may be on both sides: its random split of tasks 1 to 3, bit
for bit (SOURCE 1 and 10), Keras' ``validation_split`` of its autoencoder (SOURCE 8), and that of its GAN, without
validation (SOURCE 7). ``patient`` keeps all images of a patient, and identical images, on one side. ``given`` is
the dataset's own validation split. Cross-validation is in :mod:`pneumo_cli.data.folds`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from operator import attrgetter
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.records import Pool, Record, present_labels
from pneumo_cli.data.repeated import positions_of_repeated
from pneumo_cli.data.sample_rng import shuffled
from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.runtime.garbage import uncollected

Policy = Literal["source", "patient", "last", "all", "given"]
Positions = NDArray[np.int64]
Stratum = tuple[int, str]
_Parts = tuple[list[int], list[int], list[int]]  # training, validation, excluded


@dataclass(frozen=True)
class Split:
    """Disjoint positions in the dataset's records, int64 [n] each.

    Attributes:
        train, validation, test: the three sets.
        excluded: records of the train pool that would leak into the test pool (policy ``patient``).
        policy, seed, fraction: how the split was made; the policy may be a plugin's.
    """

    train: Positions
    validation: Positions
    test: Positions
    excluded: Positions
    policy: str
    seed: int
    fraction: float

    def parts(self) -> dict[str, Positions]:
        """Return train, validation and test by name, in this order."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def without(self, positions: Container[int]) -> Split:
        """Return this split without ``positions``; the others stay in their sets."""
        return self.where(lambda position: position not in positions)

    def where(self, wanted: Callable[[int], bool]) -> Split:
        """Return this split with only the positions that are wanted, each in its set."""

        def kept(part: Positions) -> Positions:
            return np.array([position for position in part.tolist() if wanted(position)], np.int64)

        train, validation, test = (kept(part) for part in self.parts().values())
        return replace(self, train=train, validation=validation, test=test, excluded=kept(self.excluded))


@uncollected()
def split_records(
    records: Sequence[Record],
    policy: Policy,
    fraction: float = 0.25,
    seed: int = 42,
    classes: Sequence[str] = (),
) -> Split:
    """Divide the train pool into training and validation set.

    Args:
        records: all records of a dataset.
        policy: ``source``: the report's random split of the records in their order (SOURCE 1). ``patient``: no
            patient and no identical image on both sides, stratified by label and subtype, independent of the order
            of the records; records of the train pool that share a patient or an image with the test pool are
            excluded. ``last``: the last records of each class are for validation. ``all``: all are for training.
            ``given``: the records of the dataset's own validation split are for validation.
        fraction: share of the train pool for validation, between 0 and 1.
        seed: of the split.
        classes: names of the labels, for error messages.

    Raises:
        UsageError: the policy is unknown, or the fraction is not between 0 and 1.
        DataError: a class has no image for training or for validation, or the dataset has no validation split of
            its own.
    """
    if policy not in get_args(Policy):
        raise UsageError(f"unknown split policy {policy!r}: choose {' or '.join(get_args(Policy))}")
    if not 0 < fraction < 1:
        raise UsageError(f"the validation fraction has to be between 0 and 1, not {fraction}")
    divide = {
        "source": _at_random,
        "patient": _by_patient,
        "last": _by_order,
        "all": _undivided,
        "given": _as_given,
    }[policy]
    train, validation, excluded = divide(records, fraction, seed)
    labels = shown_classes(records, (*train, *validation))
    for name, part in (("training", train), ("validation", validation)):
        if policy == "all" and not part and train:
            continue
        missing = labels - shown_classes(records, part)
        if policy == "given" and name == "validation" and any(record.labels for record in records):
            missing = set()  # a published split may lack a rare label: its metrics are then left out
        if missing or not part:
            first = min(missing, default=0)
            title = classes[first] if first < len(classes) else f"class {first}"
            shown, rest = f"image of {title}", " of that class (--classes may leave it out)"
            if not classes and labels <= {0}:
                shown, rest = "image", ""
            leaking = f" (without {len(excluded):,} that the test pool shows, too)" if excluded else ""
            raise DataError(
                f"the split {policy!r} leaves no {shown} for {name}: the train pool of "
                f"{len(train) + len(validation):,} images{leaking} has too few patients{rest}"
            )
    return Split(
        train=np.array(train, np.int64),
        validation=np.array(validation, np.int64),
        test=np.array(pool_positions(records, "test"), np.int64),
        excluded=np.array(excluded, np.int64),
        policy=policy,
        seed=seed,
        fraction=fraction,
    )


def pool_positions(records: Sequence[Record], pool: Pool) -> list[int]:
    """The positions of the records of one pool."""
    return [position for position, record in enumerate(records) if record.pool == pool]


def _at_random(records: Sequence[Record], fraction: float, seed: int) -> _Parts:
    import torch

    pool = pool_positions(records, "train")
    # As torch.utils.data.random_split after torch.manual_seed(seed), without the global generator.
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
    size = int((1 - fraction) * len(pool))
    return [pool[i] for i in order[:size]], [pool[i] for i in order[size:]], []


def _by_order(records: Sequence[Record], fraction: float, seed: int) -> _Parts:
    by_label: dict[int, list[int]] = defaultdict(list)
    for position in pool_positions(records, "train"):
        by_label[records[position].label].append(position)
    train, validation = [], []
    for positions in by_label.values():
        size = int(len(positions) * (1 - fraction))  # as Keras
        train += positions[:size]
        validation += positions[size:]
    return sorted(train), sorted(validation), []


def _undivided(records: Sequence[Record], fraction: float, seed: int) -> _Parts:
    return pool_positions(records, "train"), [], []


def _as_given(records: Sequence[Record], fraction: float, seed: int) -> _Parts:
    pool = pool_positions(records, "train")
    validation = [position for position in pool if records[position].validation]
    if not validation:
        raise DataError(
            "these images have no validation split of their own: --split patient makes one, by patient"
        )
    return [position for position in pool if not records[position].validation], validation, []


_LABELS, _KIND = attrgetter("label", "labels"), attrgetter("label", "labels", "subtype")


def shown_classes(records: Sequence[Record], positions: Iterable[int]) -> set[int]:
    """The classes that any of the images at some positions shows."""
    distinct = set(map(_LABELS, map(records.__getitem__, positions)))
    return {label for labels in distinct for label in present_labels(*labels)}


def strata(record: Record) -> tuple[Stratum, ...]:
    """What splits and folds balance: label and subtype; in a multilabel dataset each label that is present."""
    if not record.labels:
        return ((record.label, record.subtype),)
    return tuple((label, "") for label in record.present) or ((-1, ""),)


def counted_strata(
    records: Sequence[Record], groups: Sequence[Sequence[int]]
) -> tuple[list[Counter[Stratum]], Counter[Stratum]]:
    """The number of images of each of the :func:`strata`, in each group of positions and in all of them.

    Groups that are alike have the same counter, which is not to be changed.
    """
    kinds: dict[tuple[Any, ...], tuple[Stratum, ...]] = {}
    strata_of = [
        kinds.get(kind) or kinds.setdefault(kind, strata(record))
        for kind, record in zip(map(_KIND, records), records, strict=True)
    ]
    alike = [tuple(map(strata_of.__getitem__, group)) for group in groups]
    times = Counter(alike)
    known = {each: Counter(key for keys in each for key in keys) for each in times}
    total: Counter[Stratum] = Counter()
    for each, counts in known.items():
        for key, count in counts.items():
            total[key] += count * times[each]
    return [known[each] for each in alike], total


def _by_patient(records: Sequence[Record], fraction: float, seed: int) -> _Parts:
    groups, excluded = groups_apart_from_test(records)
    strata_of, sizes = counted_strata(records, groups)
    room = {key: round(fraction * size) for key, size in sizes.items()}
    train, validation = [], []
    order = shuffled(seed, 0, np.arange(len(groups))).tolist()
    if any(record.labels for record in records):
        # The groups with the rarest labels first: later there may be no room for the labels beside them.
        order.sort(key=lambda number: min(sizes[key] for key in strata_of[number]))
    for number in order:
        group, counts = groups[number], strata_of[number]
        if all(count <= room[key] for key, count in counts.items()):
            validation += group
            for key, count in counts.items():
                room[key] -= count
        else:
            train += group
    return sorted(train), sorted(validation), sorted(excluded)


def groups_apart_from_test(records: Sequence[Record]) -> tuple[list[list[int]], list[int]]:
    """The :func:`patient_groups` without records of the test pool.

    Returns:
        the groups, and the positions of records of the train pool in the other groups, which would be leaks.
    """
    groups, excluded = [], []
    in_test = [record.pool == "test" for record in records]
    for group in patient_groups(records):
        if any(map(in_test.__getitem__, group)):
            excluded += [position for position in group if records[position].pool == "train"]
        else:
            groups.append(group)
    return groups, excluded


def patient_groups(records: Sequence[Record]) -> list[list[int]]:
    """Return the positions of records that must not be separated, as lists in order of their first name.

    Records that share a patient or a digest are in one group, also through a chain of such records. The groups, and
    the order within them, do not depend on the order of ``records``.
    """
    parent = list(range(len(records)))

    def root(position: int) -> int:
        while parent[position] != position:
            parent[position] = parent[parent[position]]  # path halving
            position = parent[position]
        return position

    names = [record.name for record in records]
    by_name = sorted(range(len(records)), key=names.__getitem__)
    for values in ([record.patient for record in records], [record.digest for record in records]):
        first_with: dict[str, int] = {}
        for position in positions_of_repeated(values):
            first = first_with.setdefault(values[position], position)
            if first != position:
                parent[root(position)] = root(first)
    groups: dict[int, list[int]] = defaultdict(list)
    for position in by_name:
        groups[root(position)].append(position)
    return list(groups.values())


@dataclass(frozen=True)
class Overlap:
    """What two splits have in common.

    Attributes:
        first, second: names of the splits.
        patients: number of patients with images in both.
        images: number of images in ``second`` whose patient is also in ``first``.
        identical: number of images in ``second`` with a byte-identical image in ``first``.
    """

    first: str
    second: str
    patients: int
    images: int
    identical: int

    @property
    def leaks(self) -> bool:
        """True where a patient or an image is on both sides."""
        return bool(self.patients or self.identical)


@dataclass(frozen=True)
class IdenticalImages:
    """Files with equal bytes under different names.

    Attributes:
        names: two or more, sorted.
        patients: number of their patient keys; if more than one, the keys cannot be trusted.
        labels: number of their labels.
    """

    names: tuple[str, ...]
    patients: int
    labels: int


@dataclass(frozen=True)
class Overlaps:
    """All overlaps of a split: between its three sets, and identical files in the whole dataset."""

    pairs: tuple[Overlap, ...]
    identical: tuple[IdenticalImages, ...]

    @property
    def leaks(self) -> bool:
        """True where a patient or an image is on two sides of a split."""
        return any(pair.leaks for pair in self.pairs)


def overlaps(records: Sequence[Record], split: Split) -> Overlaps:
    """Count shared patients and identical images between each pair of splits."""
    parts = {name: part.tolist() for name, part in split.parts().items()}
    repeated = dict.fromkeys(positions_of_repeated([record.digest for record in records]))
    patients = {name: Counter(records[position].patient for position in part) for name, part in parts.items()}
    digests = {
        name: Counter(records[position].digest for position in part if position in repeated)
        for name, part in parts.items()
    }
    pairs = []
    for first, second in combinations(parts, 2):
        shared = patients[first].keys() & patients[second].keys()
        images = sum(patients[second][patient] for patient in shared)
        identical = sum(digests[second][one] for one in digests[first].keys() & digests[second].keys())
        pairs.append(Overlap(first, second, len(shared), images, identical))
    return Overlaps(tuple(pairs), identical_images(records[position] for position in repeated))


def identical_images(records: Iterable[Record]) -> tuple[IdenticalImages, ...]:
    """Return the groups of records with equal digests, in order of their first name."""
    records = list(records)
    by_digest: dict[str, list[Record]] = defaultdict(list)
    for position in positions_of_repeated([record.digest for record in records]):
        by_digest[records[position].digest].append(records[position])
    groups = [
        IdenticalImages(
            names=tuple(sorted(record.name for record in group)),
            patients=len({record.patient for record in group}),
            labels=len({(record.label, record.labels) for record in group}),
        )
        for group in by_digest.values()
        if len(group) > 1
    ]
    return tuple(sorted(groups, key=lambda group: group.names))


@dataclass(frozen=True)
class SplitRow:
    """One row of the class table (the report's figure 3).

    Attributes:
        split: train, validation or test.
        counts: images per class name; in a multilabel dataset an image counts for each label that is present.
        images: number of images.
        patients: number of distinct patients.
        ratio: images of class 1 (PNEUMONIA) per image of class 0 (NORMAL); None without images of class 0, or if
            the dataset does not have exactly two classes.
    """

    split: str
    counts: dict[str, int]
    images: int
    patients: int
    ratio: float | None


def class_table(records: Sequence[Record], classes: Sequence[str], split: Split) -> list[SplitRow]:
    """Count classes and patients per split."""
    rows = []
    for name, positions in split.parts().items():
        part = [records[position] for position in positions.tolist()]
        labels: Counter[int] = Counter()
        for alike, count in Counter(map(_LABELS, part)).items():
            labels.update(dict.fromkeys(present_labels(*alike), count))
        counts = {title: labels[label] for label, title in enumerate(classes)}
        exclusive = not any(record.labels for record in part)
        ratio = labels[1] / labels[0] if len(classes) == 2 and labels[0] and exclusive else None
        rows.append(SplitRow(name, counts, len(part), len({record.patient for record in part}), ratio))
    return rows
