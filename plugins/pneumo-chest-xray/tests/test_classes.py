"""Three classes from the subtypes, the validation folder, and the account of what is not used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo_chest_xray.dataset import ChestXray, open_dataset
from pneumo_cli.data.records import DatasetRequest
from pneumo_cli.data.splits import split_records
from pneumo_cli.errors import DataError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import load_reference
from pneumo_cli.testing import Invocation

Tree = Callable[..., Path]
Opened = Callable[..., ChestXray]

COMPLETE = [
    f"{folder}/{title}"
    for folder, number in (("train", 1), ("val", 2), ("test", 3))
    for title in (
        f"NORMAL/IM-000{number}-0001.jpeg",
        f"PNEUMONIA/person{number}_bacteria_1.jpeg",
        f"PNEUMONIA/person{number}_virus_2.jpeg",
    )
]


def kinds(dataset: ChestXray) -> dict[str, int]:
    return {one.kind: one.count for one in dataset.unused}


@pytest.mark.parametrize("classes", ["normal,bacteria,virus", "VIRUS, Normal ,bacteria"])
def test_subtypes_become_exclusive_classes(classes: str, tree: Tree, opened: Opened) -> None:
    dataset = opened(tree(COMPLETE), classes=classes)
    assert dataset.classes == ("normal", "bacteria", "virus")
    assert dataset.task == "multiclass"
    assert [record.name for record in dataset.records if record.label == 1] == [
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "val/PNEUMONIA/person2_bacteria_1.jpeg",
        "test/PNEUMONIA/person3_bacteria_1.jpeg",
    ]
    assert all(record.label == 2 for record in dataset.records if record.subtype == "virus")
    assert kinds(dataset) == {}


def test_bacteria_against_virus_leaves_normal_images_out_and_counts_them(tree: Tree, opened: Opened) -> None:
    dataset = opened(tree(COMPLETE), classes="bacteria,virus")
    assert dataset.task == "binary"
    assert {record.subtype for record in dataset.records} == {"bacteria", "virus"}
    assert kinds(dataset) == {f"of other classes in {pool}/NORMAL": 1 for pool in ("train", "val", "test")}


def test_pneumonia_of_unknown_subtype_is_counted_where_the_subtype_is_the_class(
    tree: Tree, opened: Opened
) -> None:
    dataset = opened(tree([*COMPLETE, "train/PNEUMONIA/scan.png"]), classes="normal,bacteria,virus")
    assert kinds(dataset) == {"of other classes in train/PNEUMONIA": 1}


def test_the_default_is_unchanged(tree: Tree, opened: Opened) -> None:
    root = tree(COMPLETE)
    default = opened(root)
    assert default.classes == ("NORMAL", "PNEUMONIA")
    assert default.fingerprint == opened(root, classes="normal,PNEUMONIA").fingerprint
    digest = hashlib.sha256()
    for one in default.records:
        fields = (one.name, str(one.label), one.patient, one.pool, one.digest, one.subtype)
        digest.update("\x1f".join(fields).encode() + b"\x1e")
    assert default.fingerprint == digest.hexdigest()
    assert default.fingerprint != opened(root, classes="normal,bacteria,virus").fingerprint


@pytest.mark.parametrize("classes", ["normal", "normal,covid", "bacteria,bacteria,virus", "PNEUMONIA"])
def test_other_classes_are_refused_with_the_allowed_ones(
    classes: str, tree: Tree, pneumo: Callable[..., Invocation]
) -> None:
    ended = pneumo(
        "data", "check", "--dataset", "chest-xray", "--data-root", tree(COMPLETE), "--classes", classes
    )
    assert ended.code == 2
    assert "NORMAL,PNEUMONIA or normal,bacteria,virus or bacteria,virus" in ended.stderr
    assert ended.stderr.count(f"classes = '{classes}'") == 1


def test_a_subtype_without_images_is_named(small: list[str], tree: Tree, opened: Opened) -> None:
    with pytest.raises(DataError, match="no images of bacteria in test: the subtype is in the file name"):
        opened(tree(small), classes="normal,bacteria,virus")


@pytest.mark.parametrize("folder", ["val", "valid", "Validation"])
def test_any_validation_folder_is_the_split_given(folder: str, tree: Tree, opened: Opened) -> None:
    dataset = opened(tree([name.replace("val/", f"{folder}/") for name in COMPLETE]))
    split = split_records(dataset.records, "given")
    assert {dataset.records[position].name.split("/")[0] for position in split.validation} == {folder}
    assert len(split.validation) == len(split.train) == 3
    assert kinds(dataset) == {}


def test_class_subfolders_are_walked_and_are_the_subtype(tree: Tree, opened: Opened) -> None:
    names = [
        name.replace("PNEUMONIA/person1_", f"PNEUMONIA/{kind}/scan_")
        for name in COMPLETE
        for kind in ("Bacteria", "Virus")
        if kind.lower() in name or "NORMAL" in name
    ]
    dataset = opened(tree(names), classes="normal,bacteria,virus")
    assert [record.label for record in dataset.records if "/scan_" in record.name] == [1, 2]


def test_what_is_not_used_is_counted_and_named(small: list[str], tree: Tree, opened: Opened) -> None:
    others = ["train/COVID19/a.jpeg", "train/COVID19/b.jpeg", "test/COVID19/c.jpeg", "extra/d.png", "e.png"]
    root = tree([*small, *others, *(f"copy/deep/{name}" for name in small)])
    (root / "old.zip").write_bytes(b"PK")
    (root / "README.md").write_text("text")
    assert kinds(opened(root)) == {
        "at the top level": 1,
        "in another copy of the tree, copy/deep": 8,
        "in the class folder test/COVID19": 1,
        "in the class folder train/COVID19": 2,
        "in the folder extra": 1,
        "of the type .md": 1,
        "of the type .zip (an archive)": 1,
    }


def test_an_archive_in_place_of_the_images_is_named(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "ChestXRay2017.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"holds an archive, ChestXRay2017\.zip: unpack it first"):
        opened(tmp_path / "root")


def test_it_recognizes_its_own_files(small: list[str]) -> None:
    recognize = load_reference("pneumo_chest_xray.layout:recognize")
    assert recognize([f"chest_xray/{name}" for name in small])
    assert not recognize(["cats/1.jpg", "train/NORMAL/1.jpg", "train/COVID/2.jpg"])


@pytest.mark.real_data
def test_the_real_images_have_three_classes(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "chest_xray"
    if not root.is_dir():
        pytest.skip("the real radiographs are not at ../shared/data/chest_xray")
    request = DatasetRequest(root, tmp_path, Progress(), {"classes": "normal,bacteria,virus"})
    dataset = open_dataset(request)
    assert len(dataset.records) == 5216
    assert dataset.unused == ()
    split_records(dataset.records, "patient")
