"""Small datasets for tests."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.api import DatasetSpec
from pneumo_cli.data.records import Dataset, DatasetRequest, Pool, Record, Target
from pneumo_cli.errors import UnreadableImage

TINY = DatasetSpec(
    name="conformance-tiny",
    summary="64 images of 32 px: noise, with a bright disc where the label is 1",
    factory="pneumo_cli.testing.datasets:open_tiny",
    synthetic=True,
)
"""The dataset of the suite; ``installed_plugins`` registers it."""

SMALL = DatasetSpec(
    name="conformance-small",
    summary="The same with 256 images: enough of each class to compare sets of images",
    factory="pneumo_cli.testing.datasets:open_small",
    synthetic=True,
)
"""For tasks that evaluate images by distances; ``installed_plugins`` registers it too."""

CLASSES = DatasetSpec(
    name="conformance-classes",
    summary="The images of conformance-tiny in three exclusive classes",
    factory="pneumo_cli.testing.datasets:open_classes",
    synthetic=True,
)
"""For classifiers; ``installed_plugins`` registers it too."""

LABELS = DatasetSpec(
    name="conformance-labels",
    summary="The images of conformance-tiny with three labels, one of them unknown for some",
    factory="pneumo_cli.testing.datasets:open_labels",
    synthetic=True,
)
"""For classifiers; ``installed_plugins`` registers it too."""

TARGETS = DatasetSpec(
    name="conformance-targets",
    summary="The images of conformance-tiny with a number, a mask and boxes, those of the phantom",
    factory="pneumo_cli.testing.datasets:open_targets",
    synthetic=True,
)
"""For regression and segmentation; ``installed_plugins`` registers it too."""


class TinyDataset(Dataset):
    """Noise, and in every second image a bright disc: any classifier learns it within a few epochs.

    Args:
        seed: of the images, and so of the fingerprint.
        images: their number; three quarters in the train pool, two per patient, half of each class.
    """

    classes: tuple[str, ...] = ("NORMAL", "PNEUMONIA")
    synthetic = True
    origin = "Noise and discs, for tests."
    place = "generated in memory"
    side = 32

    def __init__(self, name: str = TINY.name, seed: int = 0, images: int = 64) -> None:
        self.name = name
        self._pixels: dict[str, NDArray[np.uint8]] = {}
        records = []
        for number in range(images):
            patient = number // 2
            label = patient % 2
            pool: Pool = "test" if number >= images * 3 // 4 else "train"
            title = f"{pool}/{self.classes[label]}/patient{patient:03}_{number % 2}"
            self._pixels[title] = self._draw(np.random.default_rng([seed, number]), label)
            digest = hashlib.sha256(self._pixels[title].tobytes()).hexdigest()
            records.append(Record(title, label, f"patient{patient:03}", pool, digest))
        self.records = sorted(records, key=lambda record: (record.label, record.name))

    def _draw(self, rng: np.random.Generator, label: int) -> NDArray[np.uint8]:
        image = rng.normal(90, 20, (self.side, self.side))
        if label:
            row, column = rng.integers(8, self.side - 8, 2)
            y, x = np.ogrid[: self.side, : self.side]
            image[(y - row) ** 2 + (x - column) ** 2 <= 36] += 90
        return image.clip(0, 255).astype(np.uint8)

    def read(self, record: Record, size: int | None = None) -> NDArray[np.uint8]:
        """The image, at its only size."""
        if record.name not in self._pixels:
            raise UnreadableImage(f"there is no image {record.name}")
        return self._pixels[record.name]


class _SeveralClasses(TinyDataset):
    """The images of :class:`TinyDataset`, of three classes that the images do not show."""

    classes = ("NORMAL", "BACTERIA", "VIRUS")

    def __init__(self, name: str, *, multilabel: bool) -> None:
        super().__init__(name)
        self.multilabel = multilabel
        records = [
            self._labelled(record, int(record.patient.removeprefix("patient"))) for record in self.records
        ]
        self.records = sorted(records, key=lambda record: (record.label, record.name))

    def _labelled(self, record: Record, patient: int) -> Record:
        if not self.multilabel:
            return replace(record, label=patient % 3)
        last = -1 if patient % 5 == 0 else int(patient % 3 == 0)
        return replace(record, label=0, labels=(patient % 2, patient // 2 % 2, last))


class _WithTargets(TinyDataset):
    """The images of :class:`TinyDataset` with an age, a mask of what is bright, and a box around it."""

    targets = (
        Target("age", "number", "age in years"),
        Target("lungs", "mask", "what is brighter than 120"),
        Target("discs", "boxes", "the bright disc"),
    )

    def __init__(self) -> None:
        super().__init__(TARGETS.name)
        self.records = [
            replace(
                record, numbers=(float(self._pixels[record.name].mean() / 10),), boxes=self._boxes(record)
            )
            for record in self.records
        ]

    def _boxes(self, record: Record) -> tuple[tuple[float, float, float, float], ...]:
        if not record.label:
            return ()
        rows, columns = np.nonzero(self._pixels[record.name] > 160)
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return (tuple(float(edge) / self.side for edge in (left, top, right, bottom)),)  # type: ignore[return-value]

    def read_mask(self, record: Record, target: str, size: int | None = None) -> NDArray[np.uint8]:
        """1 where the image is brighter than 120."""
        return (self.read(record) > 120).astype(np.uint8)


def open_tiny(request: DatasetRequest) -> TinyDataset:
    """The factory of :data:`TINY`."""
    return TinyDataset()


def open_small(request: DatasetRequest) -> TinyDataset:
    """The factory of :data:`SMALL`."""
    return TinyDataset(SMALL.name, images=256)


def open_classes(request: DatasetRequest) -> Dataset:
    """The factory of :data:`CLASSES`."""
    return _SeveralClasses(CLASSES.name, multilabel=False)


def open_labels(request: DatasetRequest) -> Dataset:
    """The factory of :data:`LABELS`."""
    return _SeveralClasses(LABELS.name, multilabel=True)


def open_targets(request: DatasetRequest) -> Dataset:
    """The factory of :data:`TARGETS`."""
    return _WithTargets()
