"""The content of folders with generated images, and the single line of an error."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from pneumo_cli.testing import Invocation

COLUMNS = ["file", "kind", "source", "seed", "index", "run", "checkpoint", "epoch", "dataset", "images_of"]
"""The columns of ``manifest.csv``."""


def pixels(folder: Path) -> dict[str, np.ndarray]:
    """The images of a folder by their names."""
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def manifest(folder: Path) -> list[dict[str, str]]:
    """The rows of ``manifest.csv``."""
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, including hidden files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def assert_one_line(ended: Invocation, code: int, *words: str) -> None:
    """The command printed nothing but one line on stderr, with these words."""
    assert ended.code == code, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("pneumo: ")
    for word in words:
        assert word in ended.stderr
