"""``pneumo data audit`` names classes that can be told by how their files are stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., object]

STORED = """
from pathlib import Path
from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.data import FileDataset, ImageFiles, Record

api_version = 1

class Stored(FileDataset):
    name, classes, synthetic, origin = "stored", ("NORMAL", "PNEUMONIA"), True, "Files for a test."

    def __init__(self, request):
        super().__init__(ImageFiles(request.root), request.cache, request.progress)
        names = self.files.names()
        digests = self.digests(names)
        self.records = [
            Record(name, int(name[0] == "p"), name, ("train", "test")["test" in name], digests[name])
            for name in names
        ]
        self.paths = {name: name for name in names}

def open_stored(request):
    return Stored(request)

@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="stored", summary="Files", factory="stored_plugin:open_stored", needs_root=True, synthetic=True
    )
"""


@pytest.fixture
def root(install: Callable[..., None], tmp_path: Path) -> Path:
    """A folder with images of 40 patients as PNG."""
    install("pneumo-stored", {"stored": "stored_plugin"}, {"stored_plugin": STORED})
    random = np.random.default_rng(3)
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(40):
        name = f"{'np'[number % 2]}{number}{'test' if number < 8 else ''}"
        pixels = np.kron(random.integers(0, 256, (16, 16)), np.ones((4, 4))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_a_class_of_12_bits_beside_one_of_8_is_a_problem_in_all_outputs(
    pneumo: Run, fakes: Path, root: Path
) -> None:
    for path in root.glob("p*.png"):
        deep = np.rint(np.asarray(Image.open(path)) / 255 * 4095).astype(np.uint16)
        Image.fromarray(deep).save(path)
    ended = pneumo("data", "audit", "--dataset", "stored", "--data-root", root, "--out", "page", "--json")
    assert ended.code == 0, ended.stderr
    storage = json.loads(ended.stdout)["storage"]
    (difference,) = storage["differences"]
    assert (difference["class"], difference["property"], difference["auc"]) == ("PNEUMONIA", "bit depth", 1.0)
    assert storage["images"] == 40
    (shortcut,) = storage["shortcuts"]
    page = (fakes / "page" / "audit.html").read_text()
    assert "Images of PNEUMONIA can be told from the others by how they are stored" in page
    assert "16-bit gray 100 %" in page
    ended = pneumo("data", "audit", "--dataset", "stored", "--data-root", root, "--out", "again")
    words = " ".join(ended.stdout.split())
    assert f"problem: {shortcut}" in words


def test_classes_that_are_stored_alike_are_no_problem(pneumo: Run, fakes: Path, root: Path) -> None:
    ended = pneumo("data", "audit", "--dataset", "stored", "--data-root", root, "--out", "page", "--json")
    assert ended.code == 0, ended.stderr
    storage = json.loads(ended.stdout)["storage"]
    assert (storage["differences"], storage["shortcuts"]) == ([], [])
    assert ["format", "PNG 100 %", "PNG 100 %"] in storage["rows"]
    assert (
        "Neither format, bit depth, compression nor size tells a class"
        in (fakes / "page" / "audit.html").read_text()
    )


def test_a_dataset_without_files_has_no_such_section(pneumo: Run, fakes: Path) -> None:
    ended = pneumo("data", "audit", "--dataset", "tiny", "--out", "page", "--json")
    assert json.loads(ended.stdout)["storage"]["images"] == 0
    assert "How the images are stored" not in (fakes / "page" / "audit.html").read_text()
