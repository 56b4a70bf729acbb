"""Do classes differ in how their files are stored? Then a model can tell them apart without looking at the picture.

A dataset that was put together from several sources often has one class as PNG and another as JPEG, or in another
size: a known shortcut (Geirhos et al. 2020; DeGrave et al. 2021 for radiographs of COVID-19).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.containers import Container, container
from pneumo_cli.data.file_dataset import FileDataset
from pneumo_cli.data.records import Dataset, Record
from pneumo_cli.errors import UnreadableImage
from pneumo_cli.runtime.threads import ordered_map

READ = 2000
"""Files whose headers are read at most."""

_NOTABLE_AUC = 0.7
_NOTABLE_Z = 2.5  # standard deviations of the AUC of a property that has nothing to do with the class
_NAMED = 3  # values of a property in a sentence

_Entry = tuple[bool, str | float]


@dataclass(frozen=True)
class ContainerDifference:
    """A property of files that predicts a class.

    Attributes:
        property: ``format``, ``bit depth``, ``compression``, ``JPEG quality``, ``width`` or ``height``.
        title: the class, which is compared with all others.
        auc: 0.5 to 1, of the property alone, over patients.
        patients: of the class, and of the others.
        values: of the class and of the others, in words.
    """

    property: str
    title: str
    auc: float
    patients: tuple[int, int]
    values: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.property} (AUC {self.auc:.3f}: {self.values[0]}; the others {self.values[1]})"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "property": self.property,
            "class": self.title,
            "auc": self.auc,
            "patients": list(self.patients),
            "values": list(self.values),
        }


def read_containers(dataset: FileDataset, *, limit: int = READ, seed: int = 0) -> dict[int, Container]:
    """How the images are stored, by the position of the record; without files that cannot be read.

    Args:
        limit: the number of files to read; of more, a random sample that has the same number of each class.
    """
    by_class: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, record in enumerate(dataset.records):
        by_class[record.present].append(position)
    random = np.random.default_rng(seed)
    orders = [random.permutation(positions).tolist() for positions in by_class.values()]
    turns = (position for turn in zip_longest(*orders) for position in turn if position is not None)
    chosen = sorted(islice(turns, limit))

    def read(position: int) -> Container | None:
        try:
            return container(dataset.read_bytes(dataset.records[position]))
        except UnreadableImage:
            return None

    found = zip(chosen, ordered_map(read, chosen), strict=True)
    return {position: one for position, one in found if one is not None}


def container_differences(
    dataset: Dataset, containers: Mapping[int, Container]
) -> tuple[ContainerDifference, ...]:
    """The properties that predict a class clearly, and not by chance: by class, the best first.

    That is an AUC of at least 0.7 that is 2.5 standard deviations above 0.5, or a format, bit depth or compression
    that separates a class completely. Two classes give one comparison, that of class 1.

    Args:
        containers: of some or all records, by position (:func:`read_containers`).
    """
    found = []
    for place in range(
        1 if len(dataset.classes) == 2 and not dataset.multilabel else 0, len(dataset.classes)
    ):
        known = [
            (dataset.records[position], one)
            for position, one in containers.items()
            if not dataset.multilabel or dataset.records[position].labels[place] >= 0
        ]
        title = dataset.classes[place]
        differences = [
            *(_by_name(name, title, _entries(known, place, of)) for name, of in _NAMES.items()),
            *(_by_number(name, title, _entries(known, place, of)) for name, of in _NUMBERS.items()),
        ]
        found += sorted(filter(None, differences), key=lambda one: -one.auc)
    return tuple(found)


def storage_shortcuts(dataset: Dataset, *, limit: int = READ) -> list[str]:
    """The :func:`shortcuts` of a dataset; none of one that reads no files.

    Args:
        limit: the number of files to read.
    """
    if not isinstance(dataset, FileDataset):
        return []
    return shortcuts(container_differences(dataset, read_containers(dataset, limit=limit)))


def shortcuts(differences: Iterable[ContainerDifference]) -> list[str]:
    """A sentence for each class that can be told from how its files are stored."""
    by_class: dict[str, list[ContainerDifference]] = defaultdict(list)
    for one in differences:
        by_class[one.title].append(one)
    return [
        f"images of {title} can be told from the others by how they are stored, without looking at the picture: "
        + ", ".join(map(str, several))
        for title, several in by_class.items()
    ]


def container_rows(dataset: Dataset, containers: Mapping[int, Container]) -> list[tuple[str, ...]]:
    """How the images of each class are stored: rows of a property and its values, in the order of the classes."""
    rows = []
    for name, of, words in [
        *((name, of, _shares) for name, of in _NAMES.items()),
        *((name, of, _median) for name, of in _NUMBERS.items()),
    ]:
        by_class = [
            [
                value
                for position, one in containers.items()
                if place in dataset.records[position].present and (value := of(one)) is not None
            ]
            for place in range(len(dataset.classes))
        ]
        if any(by_class):
            rows.append((name, *(words(values) if values else "–" for values in by_class)))
    return rows


_NAMES: dict[str, Callable[[Container], str | float | None]] = {
    "format": lambda one: one.format,
    "bit depth": lambda one: one.samples or None,
    "compression": lambda one: one.compression or "none named",
}
_NUMBERS: dict[str, Callable[[Container], str | float | None]] = {
    "JPEG quality": lambda one: one.quality,
    "width": lambda one: one.width or None,
    "height": lambda one: one.height or None,
}


def _entries(
    known: Sequence[tuple[Record, Container]], place: int, of: Callable[[Container], str | float | None]
) -> list[_Entry]:
    """Whether the class is present, and the property, for each patient: the mean, or the most common value.

    A patient with images of the class and others counts on both sides.
    """
    values: dict[tuple[str, bool], list[str | float]] = defaultdict(list)
    for record, one in known:
        value = of(one)
        if value is not None:
            values[record.patient, place in record.present].append(value)
    return [(inside, _typical(several)) for (_, inside), several in values.items()]


def _typical(values: Sequence[str | float]) -> str | float:
    if isinstance(values[0], str):
        return Counter(values).most_common(1)[0][0]
    return float(np.mean([float(value) for value in values]))


def _by_name(name: str, title: str, entries: Sequence[_Entry]) -> ContainerDifference | None:
    """A property that is a name: scored by the share of the class among the patients with the same name."""
    total = Counter(value for _, value in entries)
    inside = Counter(value for present, value in entries if present)
    if len(total) < 2:
        return None
    scores = np.array([inside[value] / total[value] for _, value in entries])
    apart = all(inside[value] in (0, total[value]) for value in total)
    return _difference(name, title, entries, scores, _shares, apart=apart)


def _by_number(name: str, title: str, entries: Sequence[_Entry]) -> ContainerDifference | None:
    scores = np.array([float(value) for _, value in entries])
    return _difference(name, title, entries, scores, _median, apart=False)


def _difference(
    name: str,
    title: str,
    entries: Sequence[_Entry],
    scores: NDArray[np.float64],
    words: Callable[[list[str | float]], str],
    *,
    apart: bool,
) -> ContainerDifference | None:
    present = np.array([inside for inside, _ in entries], bool)
    first, second = int(present.sum()), int((~present).sum())
    if not first or not second:
        return None
    others = np.sort(scores[~present])
    below = np.searchsorted(others, scores[present], "left") + np.searchsorted(
        others, scores[present], "right"
    )
    auc = float(below.mean()) / (2 * second)
    auc = max(auc, 1 - auc)
    deviation = float(np.sqrt((first + second + 1) / (12 * first * second)))  # Mann and Whitney 1947
    if not apart and (auc < _NOTABLE_AUC or auc - 0.5 < _NOTABLE_Z * deviation):
        return None
    values = [words([value for inside, value in entries if inside is side]) for side in (True, False)]
    return ContainerDifference(name, title, auc, (first, second), (values[0], values[1]))


def _shares(values: list[str | float]) -> str:
    counts = Counter(values).most_common()
    shown = ", ".join(f"{value} {100 * count / len(values):.0f} %" for value, count in counts[:_NAMED])
    return shown + (", …" if len(counts) > _NAMED else "")


def _median(values: list[str | float]) -> str:
    return f"median {np.median([float(value) for value in values]):,.0f}"
