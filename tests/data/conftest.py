"""A small dataset on real files, for the tests of pneumo_cli.data."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.data.decoding import decode
from pneumo_cli.data.files import ImageFiles
from pneumo_cli.data.records import Dataset, DatasetRequest, Record
from pneumo_cli.errors import DataError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import DatasetSpec


def png(seed: int, size: int = 12) -> bytes:
    """A PNG whose pixels depend on ``seed``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class FolderDataset(Dataset):
    """``{train,test}/{A,B}/PATIENT_NUMBER.png``."""

    name = "toy"
    classes = ("A", "B")
    synthetic = False
    origin = "a test"

    def __init__(self, root: Path, cache: Path, progress: Progress) -> None:
        self.files = ImageFiles(root)
        self.place = str(root)
        self.reads = 0
        images = [name for name in self.files.names() if name.startswith(("train/", "test/"))]
        names = sorted(images, key=lambda name: (name.split("/")[1], name))
        if not names:
            raise DataError(f"{root} is empty")
        digests = self.files.digests(names, cache, progress)
        self.records = [
            Record(
                name=name,
                label="AB".index(name.split("/")[1]),
                patient=name.split("/")[2].split("_")[0],
                pool="train" if name.startswith("train") else "test",
                digest=digests[name],
            )
            for name in names
        ]

    def read(self, record: Record, size: int | None = None) -> np.ndarray:
        self.reads += 1
        return decode(self.files.read_bytes(record.name), size)


def fill(root: Path, patients: int = 8) -> Path:
    """Write two images per patient and class into train, one into test."""
    seed = 0
    for pool, images in (("train", 2), ("test", 1)):
        for label in "AB":
            folder = root / pool / label
            folder.mkdir(parents=True, exist_ok=True)
            for patient in range(patients):
                for number in range(images):
                    seed += 1
                    (folder / f"{pool}{label}{patient}_{number}.png").write_bytes(png(seed))
    return root


@pytest.fixture
def make_png() -> Callable[..., bytes]:
    return png


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """32 training and 16 test images of 12 x 12 pixels."""
    return fill(tmp_path / "tree")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def open_tree(cache: Path) -> Callable[[Path], FolderDataset]:
    return lambda root: FolderDataset(root, cache, Progress())


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    def open_dataset(request: DatasetRequest) -> FolderDataset:
        assert request.root is not None
        return FolderDataset(request.root, request.cache, request.progress)

    module = ModuleType("toy_dataset")
    module.open_dataset = open_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_dataset", module)
    return DatasetSpec(name="toy", summary="A toy", factory="toy_dataset:open_dataset", needs_root=True)
