"""Four datasets in memory: one needs a file with its seed, one has damaged images."""

from pneumo_cli import DataError, UnreadableImage
from pneumo_cli.data import DatasetRequest
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
