"""Small trees of images in the layouts of Kaggle and Mendeley."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pneumo_chest_xray.dataset import ChestXray, open_dataset
from pneumo_cli.data.records import DatasetRequest
from pneumo_cli.runtime.progress import Progress

# One gray pixel. Bytes after the end of a PNG are ignored, so appending a name makes a different file.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)

SMALL = [
    "train/NORMAL/IM-0001-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0001-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_virus_2.jpeg",
    "val/NORMAL/IM-0000-0001.jpeg",
    "val/PNEUMONIA/person2_virus_3.jpeg",
    "test/NORMAL/IM-0009-0001.jpeg",
    "test/PNEUMONIA/person9_virus_4.jpeg",
]


def content(name: str) -> bytes:
    """A readable image that differs by pool, class and file name, but not by the location of the tree."""
    return PIXEL + "/".join(name.split("/")[-3:]).encode()


def write(root: Path, names: Iterable[str]) -> Path:
    """Write one readable image per name."""
    folders = set()
    for name in names:
        path = root / name
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        path.write_bytes(content(name))
    return root


def write_zip(path: Path, names: Iterable[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content(name))
    return path


@pytest.fixture
def small() -> list[str]:
    return list(SMALL)


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    return lambda names, name="root": write(tmp_path / name, names)


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    return lambda names, name="root.zip": write_zip(tmp_path / name, names)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., ChestXray]:
    return lambda root, **options: open_dataset(
        DatasetRequest(root=root, cache=tmp_path / "cache", progress=Progress(), options=options)
    )
