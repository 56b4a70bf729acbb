"""Datasets in memory: one needs a file with its seed, one has damaged images, two have more classes than two."""

import hashlib

import numpy as np

from pneumo_cli import DataError, UnreadableImage
from pneumo_cli.data import Dataset, DatasetRequest, Record, UnusedFiles
from pneumo_cli.testing import TinyDataset


def open_tiny(request: DatasetRequest) -> TinyDataset:
    return TinyDataset("tiny")


def open_small(request: DatasetRequest) -> TinyDataset:
    return TinyDataset("small", images=256)


def open_seeded(request: DatasetRequest) -> TinyDataset:
    try:
        seed = int((request.root / "seed.txt").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{request.root} holds no seed.txt with a number") from error
    return TinyDataset("seeded", seed)


class TornDataset(TinyDataset):
    def read(self, record, size=None):
        if record.name in {"train/NORMAL/patient000_0", "test/PNEUMONIA/patient025_1"}:
            raise UnreadableImage("truncated in the middle")
        return super().read(record, size)


def open_torn(request: DatasetRequest) -> TornDataset:
    return TornDataset("torn", seed=99)  # not the images of `tiny`, which the cache may hold


class _Drawn(Dataset):
    """Noise with shapes, two images for each of 40 patients, in memory.

    Its shapes are a disc and two bars at places that vary. A quarter of the patients is in the test pool, and a
    quarter of the others in the dataset's own validation split.
    """

    synthetic = True
    origin = "Noise with discs and bars, for tests."
    place = "generated in memory"
    side = 32

    def __init__(self, name: str) -> None:
        self.name = name
        self._pixels = {}
        records = []
        for patient in range(40):
            pool = "test" if patient % 4 == 3 else "train"
            for number in range(2):
                title = f"{pool}/patient{patient:03}_{number}"
                rng = np.random.default_rng([17, len(self.classes), patient, number])
                shapes, fields = self.content(patient, rng)
                self._pixels[title] = self._draw(rng, shapes)
                records.append(
                    Record(
                        name=title,
                        patient=f"patient{patient:03}",
                        pool=pool,
                        digest=hashlib.sha256(self._pixels[title].tobytes()).hexdigest(),
                        validation=pool == "train" and patient % 16 < 4,
                        **fields,
                    )
                )
        self.records = sorted(records, key=lambda record: (record.label, record.name))

    def _draw(self, rng, shapes):
        image = rng.normal(90, 20, (self.side, self.side))
        y, x = np.ogrid[: self.side, : self.side]
        row, column = rng.integers(8, self.side - 8, 2)
        for shape in shapes:
            if shape == "disc":
                image[(y - row) ** 2 + (x - column) ** 2 <= 36] += 90
            elif shape == "row":
                image[row - 1 : row + 1] += 60
            else:
                image[:, column - 1 : column + 1] -= 60
        return image.clip(0, 255).astype(np.uint8)

    def read(self, record, size=None):
        if record.name not in self._pixels:
            raise UnreadableImage(f"there is no image {record.name}")
        return self._pixels[record.name]


class ThreeDataset(_Drawn):
    """Three exclusive classes: nothing, a disc, a bar."""

    classes = ("normal", "bacteria", "virus")

    def content(self, patient, rng):
        label = (patient + patient // 4) % 3  # so that each pool has all three
        return {0: (), 1: ("disc",), 2: ("row",)}[label], {"label": label}


class LabelsDataset(_Drawn):
    """Three labels, each of them unknown for some images, with files that it does not use and a note."""

    classes = ("effusion", "fracture", "nodule")
    multilabel = True
    unused = (
        UnusedFiles("in the folder train/COVID19", 6, ("train/COVID19/1.png", "train/COVID19/2.png")),
        UnusedFiles("of the type .txt", 1, ("README.txt",), images=False),
    )
    notes = ("A seventh of the labels is unknown.",)

    def content(self, patient, rng):
        labels = rng.random(3) < (0.5, 0.4, 0.3)
        shapes = [shape for shape, present in zip(("disc", "row", "column"), labels, strict=True) if present]
        known = rng.random(3) > 0.15
        values = np.where(known, labels.astype(int), -1)
        return shapes, {"label": 0, "labels": tuple(values.tolist()), "view": "PA" if patient % 2 else "AP"}


def open_three(request: DatasetRequest) -> ThreeDataset:
    return ThreeDataset("fake-three")


def open_labels(request: DatasetRequest) -> LabelsDataset:
    return LabelsDataset("fake-labels")
