"""Two datasets, generated and of files, and the decoder of the files."""

import hashlib

import numpy as np

from pneumo_cli.data import Dataset, FileDataset, ImageFiles, Record
from pneumo_cli.errors import PneumoError, UnreadableImage


class Discs(Dataset):
    """Noise, and a bright disc in every second patient's images."""

    name = "first-discs"
    classes = ("CLEAR", "DISC")
    synthetic = True
    origin = "Noise and discs."
    place = "generated in memory"
    notes = ("There are no patients.",)

    def __init__(self, count):
        self._images = {}
        records = []
        for number in range(count):
            patient = number // 2
            label = patient % 2
            pool = "test" if number >= count * 3 // 4 else "train"
            name = f"{pool}/{self.classes[label]}/{number:04}"
            self._images[name] = self._draw(number, label)
            digest = hashlib.sha256(self._images[name].tobytes()).hexdigest()
            records.append(Record(name, label, f"p{patient}", pool, digest, subtype="", view="PA"))
        self.records = sorted(records, key=lambda record: (record.label, record.name))

    def _draw(self, number, label):
        rng = np.random.default_rng(number)
        image = rng.normal(80, 15, (32, 32))
        if label:
            row, column = rng.integers(8, 24, 2)
            y, x = np.ogrid[:32, :32]
            image[(y - row) ** 2 + (x - column) ** 2 <= 36] += 100
        return image.clip(0, 255).astype(np.uint8)

    def read(self, record, size=None):
        if record.name not in self._images:
            raise UnreadableImage("there is no such image")
        return self._images[record.name]


def open_discs(request):
    """The factory of the generated dataset."""
    return Discs(request.options["discs"])


class Files(FileDataset):
    """Files ``CLASS/PATIENT-NUMBER.fst`` below ``train`` and ``test``."""

    name = "first-files"
    classes = ("CLEAR", "DISC")
    synthetic = True
    origin = "Files of the format FST."

    def __init__(self, root, cache, progress):
        super().__init__(ImageFiles(root), cache, progress)
        self.place = str(root)
        found = [path for path in self.files.files() if path.endswith(".fst")]
        self.paths = {path: path for path in found}
        digests = {path: hashlib.sha256(self.files.read_bytes(path)).hexdigest() for path in found}
        self.records = sorted(
            (self._record(path, digests[path]) for path in found), key=lambda one: (one.label, one.name)
        )

    def _record(self, path, digest):
        pool, label, name = path.split("/")
        return Record(path, self.classes.index(label), name.partition("-")[0], pool, digest)


def open_files(request):
    """The factory of the dataset of files."""
    if request.root is None:
        raise PneumoError("no root")
    return Files(request.root, request.cache, request.progress)


def recognize(names):
    """Whether these files are of the second dataset."""
    return any(name.endswith(".fst") for name in names)


def download(target, progress):
    """Write the files of the second dataset."""
    discs = Discs(48)
    with progress.stage("writing", len(discs.records)) as advance:
        for number, record in enumerate(discs.records):
            path = target / record.pool / discs.classes[record.label] / f"{record.patient}-{number}.fst"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_fst(discs.read(record)))
            advance(1)
    return target


def encode_fst(image):
    """FST1, the side in one byte, the pixels."""
    return b"FST1" + bytes([len(image)]) + image.tobytes()


def decode_fst(data, max_pixels):
    """The pixels, uint8 [S, S]."""
    side = data[4]
    if len(data) != 5 + side * side:
        raise UnreadableImage("truncated")
    return np.frombuffer(data[5:], np.uint8).reshape(side, side)


def is_fst(data):
    """Whether the header is that of a file of this format."""
    return len(data) > 4 and data[4] > 0


def body_part(data):
    """Always a chest."""
    return ""


def healthy():
    """The health check."""
    return "first is there"
