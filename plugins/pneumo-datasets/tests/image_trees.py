"""Small trees of readable images, and tables beside them."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from pneumo_cli.data.records import Dataset

# One gray pixel. Bytes after the end of a PNG are ignored, so appending a name makes a different file.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def write(root: Path, names: Iterable[str]) -> Path:
    """Write one readable image per name, each with its own content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PIXEL + path.name.encode())
    return root


def write_table(path: Path, rows: Iterable[Sequence[object]], delimiter: str = ",") -> Path:
    """Write a table; the first row is the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, delimiter=delimiter).writerows(rows)
    return path


def numbered(folder: str, patients: int, images: int = 1, prefix: str = "p") -> list[str]:
    """Names of images, some of each patient: ``folder/p003-1.png``."""
    return [
        f"{folder}/{prefix}{patient:03}-{image}.png" for patient in range(patients) for image in range(images)
    ]


def kinds(dataset: Dataset) -> dict[str, int]:
    """How many files are not used, by kind."""
    return {one.kind: one.count for one in dataset.unused}
