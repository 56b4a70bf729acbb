"""Datasets of files: one depth for all 16-bit files, and an account of the files that are not used."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.data.file_dataset import FileDataset, unused_files
from pneumo_cli.data.files import ImageFiles
from pneumo_cli.data.records import Record
from pneumo_cli.runtime.progress import Progress

RAMP = np.tile(np.arange(256, dtype=np.uint16), (256, 1))


class Films(FileDataset):
    """All images of a folder, of one class."""

    name = "films"
    classes = ("NORMAL", "PNEUMONIA")
    synthetic = True
    origin = "a test"

    def __init__(self, root: Path, cache: Path) -> None:
        super().__init__(ImageFiles(root), cache, Progress())
        names = self.files.names()
        digests = self.digests(names)
        self.records = [Record(name, 0, name, "train", digests[name]) for name in names]
        self.paths = {name: name for name in names}


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_dark_and_bright_16_bit_files_of_one_dataset_are_scaled_alike(tmp_path: Path) -> None:
    write(tmp_path / "films" / "bright.png", RAMP * 16)
    write(tmp_path / "films" / "dark.png", RAMP)  # alone it would look like 8 bits
    write(tmp_path / "films" / "eight.png", RAMP.astype(np.uint8))
    films = Films(tmp_path / "films", tmp_path / "cache")
    bright, dark, eight = (films.read(record).astype(int) for record in films.records)
    assert films.gray_scaling == "16-bit files scaled as 12 bits (largest value 4,080)"
    assert np.abs(bright - RAMP).max() <= 1
    assert np.abs(dark - RAMP / 16).max() <= 1
    assert np.array_equal(eight, RAMP)


def test_the_depth_is_searched_once_for_the_same_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "films" / "one.png", RAMP * 16)
    assert "12 bits" in Films(tmp_path / "films", tmp_path / "cache").gray_scaling
    again = Films(tmp_path / "films", tmp_path / "cache")
    monkeypatch.setattr(ImageFiles, "beginning", None)
    assert "12 bits" in again.gray_scaling
    monkeypatch.undo()
    write(tmp_path / "films" / "two.png", RAMP * 64)
    assert "14 bits" in Films(tmp_path / "films", tmp_path / "cache").gray_scaling


@pytest.mark.parametrize("damage", [b"", b"{", b'{"bits": 3, "largest": 9}', b'{"bits": "x"}', b"[]"])
def test_a_damaged_record_of_the_depth_is_searched_again(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path / "films" / "one.png", RAMP * 16)
    assert Films(tmp_path / "films", tmp_path / "cache").gray_scaling
    (file,) = (tmp_path / "cache" / "depths").iterdir()
    file.write_bytes(damage)
    assert "12 bits" in Films(tmp_path / "films", tmp_path / "cache").gray_scaling


def test_8_bit_files_have_no_scaling_to_speak_of_and_are_read_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "films" / "one.png", RAMP.astype(np.uint8))
    (tmp_path / "films" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x10")
    films = Films(tmp_path / "films", tmp_path / "cache")
    assert films.gray_scaling == ""
    assert np.array_equal(films.read(films.records[1]), RAMP)


def test_unused_files_are_counted_by_kind_and_images_come_first() -> None:
    files = [
        *(f"train/COVID19/{n}.png" for n in range(5)),
        "train/NORMAL/used.png",
        "inner.zip",
        "notes.txt",
        "stray.jpg",
        "phone.heic",
        "LICENSE",
    ]
    found = unused_files(files, {"train/NORMAL/used.png"})
    assert [(one.kind, one.count, one.images) for one in found] == [
        ("at the top level", 1, True),
        ("in the folder train/COVID19", 5, True),
        ("of the type .heic (HEIF, which is not read)", 1, True),
        ("of the type .zip (an archive)", 1, True),
        ("of the type .txt", 1, False),
        ("without a suffix", 1, False),
    ]
    assert str(found[1]) == (
        "5 files in the folder train/COVID19 (train/COVID19/0.png, train/COVID19/1.png, train/COVID19/2.png, …)"
    )
    content = unused_files(["1.2.840.113"], (), beginning=lambda path, size: bytes(128) + b"DICM")
    assert [(one.kind, one.images) for one in content] == [("without a suffix", True)]
    where = unused_files(files, (), lambda path: "of another class")
    assert {one.kind for one in where if one.images} == {
        "of another class",
        "of the type .heic (HEIF, which is not read)",
        "of the type .zip (an archive)",
    }


def test_an_image_in_memory_and_in_a_file_are_the_same(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(RAMP * 16).save(data, "PNG")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.png").write_bytes(data.getvalue())
    films = Films(tmp_path / "films", tmp_path / "cache")
    assert films.read_bytes(films.records[0]) == data.getvalue()
