"""Patients from patterns, tables and DICOM headers."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from image_trees import numbered, write_table

from pneumo_cli.data.records import Dataset
from pneumo_cli.errors import DataError, UsageError
from pneumo_datasets.patients import _searched as patient_search

Tree = Callable[..., Path]
Opened = Callable[..., Dataset]

NAMES = [*numbered("NORMAL", 6, 2, "n"), *numbered("COVID", 6, 2, "c")]


def patients(dataset: Dataset) -> dict[str, str]:
    return {record.name: record.patient for record in dataset.records}


@pytest.mark.parametrize(
    ("pattern", "patient"),
    [
        (r"^(c\d+)", "c003"),
        (r"c\d+", "c003"),
        (r"(?P<subtype>c)(?P<patient>\d+)", "003"),
        (r"(?P<subtype>c)(\d+)", "003"),
        (r"(c)(x)?(0*)(\d)", "c-00-3"),
        (r"COVID/(c\d\d)", None),
    ],
)
def test_the_patient_is_the_named_group_or_all_groups_or_the_match(
    pattern: str, patient: str | None, tree: Tree, opened: Opened
) -> None:
    root = tree(NAMES)
    if patient is None:  # the class folder is not searched
        with pytest.raises(UsageError, match="finds no patient in any of 24 images"):
            opened("folder", root, patient_pattern=pattern)
        return
    dataset = opened("folder", root, patient_pattern=pattern)
    assert patients(dataset)["COVID/c003-1.png"] == patient
    subtype = "c" if "subtype" in pattern else ""
    assert {record.subtype for record in dataset.records if record.label} == {subtype}
    unmatched = patients(dataset)["NORMAL/n000-0.png"]
    assert unmatched == "image:NORMAL/n000-0.png"
    assert any("12 of 24 images have no patient there" in note for note in dataset.notes)


def test_the_path_below_the_class_is_searched_where_the_file_name_has_no_patient(
    tree: Tree, opened: Opened
) -> None:
    names = [
        f"{title}/patient{n}/{title}-{v}-{n}x.png" for title in ("A", "B") for n in range(5) for v in (1, 2)
    ]
    dataset = opened("folder", tree(names), patient_pattern=r"patient(\d+)")
    assert {record.patient for record in dataset.records} == {"0", "1", "2", "3", "4"}


def test_names_are_searched_without_their_suffix_as_paths_are_without_theirs() -> None:
    paths = ["a.png", "a.b.png", ".a", ".a.png", "a", "f.g/a.png", "f/a.b", "f/.a", "é/ü\n.png"]
    names, _ = patient_search(r"(?s)(.*)", paths)
    assert names == [PurePosixPath(path).with_suffix("").name for path in paths]
    folders, subtypes = patient_search(r"(?s)(?P<subtype>.*)/(?P<patient>.*)", paths)
    within = [PurePosixPath(path).with_suffix("") for path in paths]
    assert folders == [path.name if path.parent.name else "" for path in within]
    assert subtypes == [path.parent.name or None for path in within]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is no regular expression: missing"),
        ("xyz", "finds no patient in any of 24 images"),
        (r"x(\d+)", r"the patient pattern 'x\(\\d\+\)' finds no patient"),
        (r"\.?", "finds no patient"),
        ("0", "finds the same patient, '0', in all of 24 images"),
        ("(?:a{60000}){60000}", "is no regular expression|is too large|finds no patient"),
    ],
)
def test_a_pattern_that_does_not_tell_patients_apart_is_refused(
    pattern: str, message: str, tree: Tree, opened: Opened
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        opened("folder", tree(NAMES), patient_pattern=pattern)
    assert "\n" not in str(caught.value)


def test_a_pattern_of_exponential_time_ends(
    tree: Tree, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo_datasets.patients._PATTERN_SECONDS", 0.5)
    root = tree([f"{title}/{'a' * 60}{n}.png" for title in "AB" for n in range(6)])
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"takes more than 0\.5 seconds"):
        opened("folder", root, patient_pattern="^(a+)+$")
    assert time.monotonic() - started < 10


def test_patients_from_a_table(tree: Tree, opened: Opened, tmp_path: Path) -> None:
    root = tree(NAMES)
    rows = [(name.split("/")[1], name.split("/")[1][:4]) for name in NAMES[:-1]]
    write_table(root / "ids.csv", [("File Name", "Patient ID"), *rows])
    dataset = opened("folder", root, patient_table=Path("ids.csv"))
    assert patients(dataset)["COVID/c003-1.png"] == "c003"
    assert patients(dataset)["COVID/c005-1.png"] == "image:COVID/c005-1.png"
    assert any("table ids.csv" in note for note in dataset.notes)
    assert dataset.unused == ()
    elsewhere = write_table(tmp_path / "other" / "ids.tsv", [("image", "patient"), *rows], "\t")
    assert patients(opened("folder", root, patient_table=elsewhere)) == patients(dataset)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("file", "sex"), ("n000-0.png", "f")], "column with the patient: call it 'patient'; it has: file, sex"),
        ([("x", "patient"), ("n000-0.png", "1")], "no column with the image"),
        ([("file", "patient"), ("other.png", "1")], "finds no patient"),
        ([("file", "patient"), ("n000-0.png", "1"), ("n000-0.png", "2")], "names two patients of n000-0"),
        ([("file", "patient"), ("../n000-0.png", "1")], "leads out of"),
        ([], "is empty: its first line has to name the columns"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused(
    rows: list[tuple[str, ...]], message: str, tree: Tree, opened: Opened
) -> None:
    root = tree(NAMES)
    write_table(root / "ids.csv", rows)
    with pytest.raises((DataError, UsageError), match=message):
        opened("folder", root, patient_table=Path("ids.csv"))


def test_a_missing_table_and_two_sources_are_refused(tree: Tree, opened: Opened) -> None:
    root = tree(NAMES)
    with pytest.raises(UsageError, match=r"there is no table nowhere\.csv"):
        opened("folder", root, patient_table=Path("nowhere.csv"))
    with pytest.raises(ValueError, match="choose one source of patients"):
        opened("folder", root, patient_pattern="a", patient="dicom")


def test_patient_ids_of_dicom_headers_are_kept_as_hashes_only(tree: Tree, opened: Opened) -> None:
    pydicom = pytest.importorskip("pydicom")
    root = tree(NAMES)
    for number in range(6):
        file = pydicom.dataset.FileDataset("", {}, preamble=bytes(128))
        file.file_meta = pydicom.dataset.FileMetaDataset()
        file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        file.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        file.PatientID, file.PatientName = f"MRN-{number // 2}", "Doe^Jane"
        file.save_as(root / "COVID" / f"{number}.dcm", enforce_file_format=True)
    dataset = opened("folder", root, patient="dicom")
    expected = hashlib.sha256(b"MRN-1").hexdigest()[:32]
    assert patients(dataset)["COVID/2.dcm"] == patients(dataset)["COVID/3.dcm"] == expected
    assert "MRN" not in repr(dataset.records) + repr(dataset.notes)
    assert any("24 of 30 images have no patient there" in note for note in dataset.notes)
    with pytest.raises(UsageError, match="finds no patient in any of 24"):
        opened("folder", tree(NAMES, "other"), patient="dicom")


def test_without_pydicom_it_says_what_to_install(
    tree: Tree, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r"pip install '\S*pneumo-datasets\[dicom\]'"):
        opened("folder", tree(NAMES), patient="dicom")
