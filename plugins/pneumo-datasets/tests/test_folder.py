"""Class folders in the layouts that people have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_trees import kinds, numbered, write
from PIL import Image

from pneumo_cli.data.records import Dataset
from pneumo_cli.data.splits import split_records
from pneumo_cli.errors import DataError, UsageError
from pneumo_datasets.folder_layout import find_classes
from pneumo_datasets.split_folders import split_named

Tree = Callable[..., Path]
Opened = Callable[..., Dataset]


def split_tree(train: str = "train", val: str = "val", test: str = "test") -> list[str]:
    return [
        name
        for folder, first in ((train, "a"), (val, "b"), (test, "c"))
        for title in ("NORMAL", "PNEUMONIA")
        for name in numbered(f"{folder}/{title}", 4, prefix=first + title[0])
    ]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "valid", "TESTING"),
        ("TRAIN", "Validation", "Test_Set"),
        ("train", "dev", "test"),
    ],
)
def test_split_folders_are_found_however_they_are_called(
    train: str, val: str, test: str, tree: Tree, opened: Opened
) -> None:
    dataset = opened("folder", tree(split_tree(train, val, test)))
    assert dataset.classes == ("NORMAL", "PNEUMONIA")
    assert dataset.task == "binary"
    assert Counter((record.pool, record.validation) for record in dataset.records) == {
        ("train", False): 8, ("train", True): 8, ("test", False): 8,
    }  # fmt: skip
    assert len(split_records(dataset.records, "given").validation) == 8
    assert kinds(dataset) == {}


def test_a_split_below_the_class_is_the_same_as_above(tree: Tree, opened: Opened) -> None:
    names = ["/".join([*reversed(name.split("/")[:2]), name.split("/")[2]]) for name in split_tree()]
    below, above = opened("folder", tree(names, "below")), opened("folder", tree(split_tree(), "above"))
    assert names[0] == "NORMAL/train/aN000-0.png"
    assert [(record.label, record.pool, record.validation, record.digest) for record in below.records] == [
        (record.label, record.pool, record.validation, record.digest) for record in above.records
    ]


def test_a_folder_above_and_a_zip_are_the_same_dataset(tree: Tree, archive: Tree, opened: Opened) -> None:
    names = split_tree()
    wrapped = [f"download/data/{name}" for name in names]
    roots = (tree(names), tree(wrapped, "wrapped"), archive(names), archive(wrapped, "wrapped.zip"))
    assert len({opened("folder", root).fingerprint for root in roots}) == 1


def test_a_normal_class_is_first_and_the_others_are_in_alphabetical_order(tree: Tree, opened: Opened) -> None:
    root = tree(
        [name for title in ("Viral", "COVID", "No_Finding", "abscess") for name in numbered(title, 5)]
    )
    dataset = opened("folder", root)
    assert dataset.classes == ("No_Finding", "abscess", "COVID", "Viral")
    assert dataset.task == "multiclass"


def test_records_are_in_order_of_label_then_file_name(tree: Tree, opened: Opened) -> None:
    names = [record.name for record in opened("folder", tree(split_tree())).records]
    assert names == sorted(names, key=lambda name: (name.split("/")[1], name.split("/")[2], name))


def test_folders_below_a_class_are_its_subtypes(tree: Tree, opened: Opened) -> None:
    names = [
        *numbered("train/NORMAL", 4), *numbered("train/PNEUMONIA", 2, prefix="x"),
        *numbered("train/PNEUMONIA/bacteria", 4, prefix="b"),
        *numbered("train/PNEUMONIA/virus/2018", 4, prefix="v"),
    ]  # fmt: skip
    dataset = opened("folder", tree(names), test_fraction=0.25)
    assert Counter(record.subtype for record in dataset.records) == {"": 6, "bacteria": 4, "virus": 4}


def test_split_folders_with_unknown_names_are_doubted(tree: Tree, opened: Opened) -> None:
    splits = ("entrenamiento", "prueba")
    spanish = [
        name for split in splits for title in ("Sano", "COVID") for name in numbered(f"{split}/{title}", 5)
    ]
    (note,) = (note for note in opened("folder", tree(spanish)).notes if "subtypes" in note)
    assert (
        "(COVID, Sano): if the folders entrenamiento, prueba are splits, call them train, val and test"
        in note
    )
    finer = [*spanish, *numbered("prueba/AP", 5)]
    assert not any("subtypes" in note for note in opened("folder", tree(finer, "finer")).notes)


def test_a_folder_for_each_patient_is_no_subtype(tree: Tree, opened: Opened) -> None:
    names = [f"{title}/{title}{n}/{v}-{title}{n}.png" for title in "AB" for n in range(30) for v in (1, 2)]
    dataset = opened("folder", tree(names))
    assert {record.subtype for record in dataset.records} == {""}
    assert any("60 folders below the classes are too many for subtypes" in note for note in dataset.notes)
    known = opened("folder", tree(names), patient_pattern="(.+)/")
    assert len({record.patient for record in known.records}) == 60


def test_images_and_masks_of_a_class(tree: Tree, opened: Opened) -> None:
    names = [
        f"{title}/{part}/{title}-{n}.png"
        for title in ("COVID", "Normal")
        for part in ("images", "masks")
        for n in range(5)
    ]
    dataset = opened("folder", tree(names))
    assert len(dataset.records) == 10
    assert {record.subtype for record in dataset.records} == {""}
    assert kinds(dataset) == {"in folders of masks": 10}


def test_chosen_classes_keep_their_order_and_the_others_are_named(tree: Tree, opened: Opened) -> None:
    names = [name for title in ("Normal", "COVID", "Viral") for name in numbered(f"train/{title}", 5)]
    dataset = opened(
        "folder", tree([*names, *numbered("extra/Normal", 2), "top.png"]), classes="viral, normal"
    )
    assert dataset.classes == ("Viral", "Normal")
    assert kinds(dataset) == {
        "at the top level": 1,
        "in the class folder train/COVID": 5,
        "outside of the split folders, in extra/Normal": 2,
    }


def test_folders_that_differ_in_case_are_one_class(tree: Tree, opened: Opened) -> None:
    names = [
        *numbered("train/Normal", 3),
        *numbered("train/COVID", 3),
        *numbered("test/NORMAL", 2),
        *numbered("test/covid", 2),
    ]
    assert Counter(record.label for record in opened("folder", tree(names)).records) == {0: 5, 1: 5}


def test_without_a_test_folder_a_share_of_the_patients_is_set_aside_and_said(
    tree: Tree, opened: Opened
) -> None:
    names = [*numbered("NORMAL", 20, 2, "n"), *numbered("COVID", 10, 3, "c")]
    dataset = opened("folder", tree(names), patient_pattern=r"(.+)-\d")
    patients = {pool: {r.patient for r in dataset.records if r.pool == pool} for pool in ("train", "test")}
    assert not patients["train"] & patients["test"]
    assert Counter(record.label for record in dataset.records if record.pool == "test") == {0: 8, 1: 6}
    assert any("no test set: 14 of the images (about 20 %) were set aside" in note for note in dataset.notes)
    again = opened("folder", tree(names, "again"), patient_pattern=r"(.+)-\d")
    assert again.fingerprint == dataset.fingerprint


def test_the_validation_folder_stays_where_there_is_no_test_folder(tree: Tree, opened: Opened) -> None:
    names = [
        *numbered("train/NORMAL", 10, prefix="n"), *numbered("train/COVID", 10, prefix="c"),
        *numbered("val/NORMAL", 3, prefix="n"), *numbered("val/COVID", 3, prefix="c"),
    ]  # fmt: skip
    dataset = opened("folder", tree(names), patient_pattern=r"(.+)-\d")
    assert sum(record.validation for record in dataset.records) == 6
    in_validation = {record.patient for record in dataset.records if record.validation}
    tested = {record.patient for record in dataset.records if record.pool == "test"}
    assert tested
    assert not tested & in_validation


def test_images_of_every_format_with_a_decoder_are_read(tmp_path: Path, opened: Opened) -> None:
    root = write(tmp_path / "root", [*numbered("NORMAL", 6), *numbered("COVID", 6)])
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    names = [f"COVID/scan{suffix}" for suffix in (".bmp", ".jfif", ".tif", ".TIFF", ".webp", ".jpe", ".pgm")]
    for name in names:
        kind = {".jfif": "JPEG", ".jpe": "JPEG"}.get(name[10:])
        Image.fromarray(gray).save(root / name, kind)
    dataset = opened("folder", root)
    records = {record.name: record for record in dataset.records}
    assert set(names) <= records.keys()
    for name in names:
        assert abs(dataset.read(records[name]).astype(int) - gray).max() < 12, name


def test_dicom_files_without_suffix_are_read_by_their_content(tmp_path: Path, opened: Opened) -> None:
    root = write(tmp_path / "root", [*numbered("NORMAL", 5), *numbered("COVID", 5)])
    for name in ("COVID/IM0001", "COVID/1.2.840.7"):
        (root / name).write_bytes(bytes(128) + b"DICM" + name.encode())
    (root / "COVID/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    dataset = opened("folder", root)
    assert {"COVID/IM0001", "COVID/1.2.840.7"} <= {record.name for record in dataset.records}
    assert kinds(dataset) == {"of the type DICOMDIR": 1}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "is empty: it has to hold folders of images"),
        (["notes.txt"], {}, r"contains no images among its files \(notes.txt\)"),
        (["images.zip"], {}, r"holds an archive, images\.zip: unpack it first"),
        (["a.zip", "b.zip"], {}, r"a\.zip and 1 more: unpack it first, or name it with --data-root"),
        (numbered("NORMAL", 3), {}, "images of one class only, NORMAL"),
        ([*numbered("img", 3), "labels.csv"], {}, "only, img: .* for the labels of labels.csv: --dataset table"),
        ([*numbered("a", 5), *numbered("\x1b[31mb", 5)], {}, r"class '\\x1b\[31mb' with characters that cannot be"),
        (["train/1.png", "test/2.png"], {}, "has no class folders"),
        (["1.png", "2.png"], {}, "has no class folders"),
        ([*numbered("a", 1), *numbered("b", 9)], {}, "too few patients of a .1. to set 20 % of the images aside"),
        (["test/a/1.png", "test/b/1.png"], {}, "no training images of a"),
        ([*numbered("a", 5), *numbered("b", 5)], {"classes": "a,x"}, "no class folder 'x'; it has: a, b"),
        ([*numbered("a", 5), *numbered("b", 5)], {"classes": "a,b,A"}, "'a' is named twice"),
        ([*numbered("a", 5), *numbered("b", 5)], {"classes": "b"}, "'b' is one class alone: name two or more"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(
    names: list[str], options: dict[str, str], message: str, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises((DataError, UsageError), match=message) as caught:
        opened("folder", write(tmp_path / "root", names), **options)
    assert "\n" not in str(caught.value)


_PART = st.sampled_from(["train", "test", "val", "NORMAL", "COVID", "images", "masks", "x"])


@given(st.lists(st.lists(_PART, max_size=4), min_size=1, max_size=12))
def test_every_image_is_used_once_or_has_a_reason(folders: list[list[str]]) -> None:
    paths = sorted({"/".join([*folder, f"{number}.png"]) for number, folder in enumerate(folders)})
    try:
        layout = find_classes(paths, paths, (), "root")
    except DataError:
        return
    used = [place.path for place in layout.places]
    assert sorted([*used, *layout.reasons]) == paths


@given(st.text(max_size=20))
def test_any_name_is_a_split_or_none(name: str) -> None:
    assert split_named(name) in (None, "train", "validation", "test")
