"""MedMNIST's files, whole and hostile."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import archives_on_disk
import numpy as np
import pytest
from image_trees import kinds

from pneumo_cli.data.records import Dataset
from pneumo_cli.data.splits import split_records
from pneumo_cli.errors import DataError, UsageError
from pneumo_datasets.archives import NIH_LABELS

Opened = Callable[..., Dataset]


@pytest.mark.parametrize("side", [28, 64, 128, 224])
def test_pneumonia_mnist_has_two_classes_and_its_own_splits(
    side: int, tmp_path: Path, opened: Opened
) -> None:
    suffix = "" if side == 28 else f"_{side}"
    file = archives_on_disk.mnist(tmp_path / "data" / f"pneumoniamnist{suffix}.npz", 1, side, 12)
    dataset = opened("pneumonia-mnist", file)
    assert dataset.classes == ("normal", "pneumonia")
    assert Counter((r.pool, r.validation) for r in dataset.records) == {
        ("train", False): 12, ("train", True): 4, ("test", False): 6,
    }  # fmt: skip
    stored = np.load(file)
    for record in dataset.records[::5]:
        split, number = record.name.split("/")
        assert np.array_equal(dataset.read(record), stored[f"{split}_images"][int(number)])
        assert record.label == stored[f"{split}_labels"][int(number)]
    assert len(split_records(dataset.records, "given").validation) == 4
    assert opened("pneumonia-mnist", file.parent).fingerprint == dataset.fingerprint
    assert any("each image counts as a patient" in note for note in dataset.notes)


def test_chest_mnist_has_14_labels_of_which_some_can_be_chosen(tmp_path: Path, opened: Opened) -> None:
    file = archives_on_disk.mnist(tmp_path / "chestmnist.npz", 14)
    dataset = opened("chest-mnist", file)
    assert dataset.classes == NIH_LABELS
    assert dataset.records[1].labels == tuple(np.load(file)["test_labels"][1].tolist())
    assert opened("chest-mnist", file, classes="pneumonia,mass").classes == ("Pneumonia", "Mass")
    one = opened("chest-mnist", file, classes="mass")
    assert one.classes == ("no Mass", "Mass")
    assert one.task == "binary"
    with pytest.raises(UsageError, match="has no label 'covid'"):
        opened("chest-mnist", file, classes="covid,mass")


def test_a_folder_of_unpacked_arrays_is_the_same(tmp_path: Path, opened: Opened) -> None:
    file = archives_on_disk.mnist(tmp_path / "pneumoniamnist.npz", 1)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "arrays")
    (tmp_path / "arrays" / "notes.txt").write_text("text")
    dataset = opened("pneumonia-mnist", tmp_path / "arrays")
    assert dataset.fingerprint == opened("pneumonia-mnist", file).fingerprint
    assert kinds(dataset) == {"of the type .txt": 1}


def changed(path: Path, **arrays: object) -> Path:
    """A file of which some arrays are others; None: absent."""
    stored = dict(np.load(archives_on_disk.mnist(path, 1, images=9)))
    np.savez(path, **{name: value for name, value in {**stored, **arrays}.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_images": None}, "holds no pneumoniamnist.npz with train_images"),
        ({"train_images": np.array([{}] * 9, object)}, "train_images has shape .* type object"),
        ({"train_images": np.zeros((9, 28, 28))}, "type float64"),
        (
            {"train_images": np.zeros((9, 30, 30), np.uint8)},
            r"not \(images, side, side\) with a side of 28, 64",
        ),
        ({"train_images": np.zeros((9, 28, 28, 3), np.uint8)}, "not .images, side, side."),
        ({"train_labels": np.zeros((8, 1), np.uint8)}, r"train_labels has the shape \(8, 1\), not \(9, 1\)"),
        ({"train_labels": np.zeros((9, 14), np.uint8)}, "is another set"),
        ({"train_labels": np.full((9, 1), 7, np.uint8)}, "train_labels has the value 7; labels are 0 and 1"),
    ],
)
def test_another_content_is_refused_in_one_line(
    arrays: dict[str, object], message: str, tmp_path: Path, opened: Opened
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        opened("pneumonia-mnist", changed(tmp_path / "pneumoniamnist.npz", **arrays))
    assert "\n" not in str(caught.value)


def test_an_array_that_is_missing_is_named(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "root").mkdir()
    path = archives_on_disk.mnist(tmp_path / "root/pneumoniamnist.npz", 1, images=9)
    stored = {name: value for name, value in np.load(path).items() if name != "val_labels"}
    np.savez(path, **stored)
    with pytest.raises(DataError, match=r"pneumoniamnist\.npz has no val_labels$"):
        opened("pneumonia-mnist", path.parent)


def header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header("(200000, 224, 224)"), "train_images ends too early"),
        (header("(99999999999, 28, 28)"), "has 99,999,999,999 items, more than 200,000"),
        (header("(-5, 28, 28)"), "has shape"),
        (header("__import__('os').abort()"), "is damaged"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535, "is damaged"),
        (b"not an array", "is damaged"),
        (b"", "is damaged"),
    ],
)
def test_a_hostile_header_is_refused_in_one_line(
    member: bytes, message: str, tmp_path: Path, opened: Opened
) -> None:
    path = archives_on_disk.mnist(tmp_path / "pneumoniamnist.npz", 1, images=9)
    stored = dict(np.load(path))
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in stored.items():
            stream = io.BytesIO()
            np.save(stream, value)
            archive.writestr(f"{name}.npy", member if name == "train_images" else stream.getvalue())
    with pytest.raises(DataError, match=message) as caught:
        opened("pneumonia-mnist", path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("train_images*"))


def test_a_bomb_is_unpacked_no_further_than_its_header_says(tmp_path: Path, opened: Opened) -> None:
    path = archives_on_disk.mnist(tmp_path / "pneumoniamnist.npz", 1, images=9)
    stored = dict(np.load(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in stored.items():
            stream = io.BytesIO()
            np.save(stream, value)
            bomb = bytes(50_000_000) if name == "train_images" else b""
            archive.writestr(f"{name}.npy", stream.getvalue() + bomb)
    assert len(opened("pneumonia-mnist", path).records) == 16
    assert sum(one.stat().st_size for one in (tmp_path / "cache").rglob("*.npy")) < 100_000


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"text" * 100])
def test_a_file_that_is_no_archive_is_refused(content: bytes, tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "pneumoniamnist.npz").write_bytes(content)
    with pytest.raises(DataError):
        opened("pneumonia-mnist", tmp_path / "pneumoniamnist.npz")


def test_two_sizes_in_one_folder_and_another_set_are_named(tmp_path: Path, opened: Opened) -> None:
    with pytest.raises(DataError, match=r"is not chest-mnist: it holds no chestmnist\.npz .*zenodo"):
        opened("chest-mnist", tmp_path)
    for side in (28, 64):
        archives_on_disk.mnist(tmp_path / f"chestmnist_{side}.npz", 14, side, 6)
    with pytest.raises(DataError, match=r"holds 2 files, chestmnist_28\.npz, chestmnist_64\.npz: name one"):
        opened("chest-mnist", tmp_path)
