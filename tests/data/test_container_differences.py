"""Classes that can be told by how their files are stored are named; others are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pneumo_cli.data.container_differences import (
    container_differences,
    container_rows,
    read_containers,
    shortcuts,
    storage_shortcuts,
)
from pneumo_cli.data.containers import Container
from pneumo_cli.data.file_dataset import FileDataset
from pneumo_cli.data.files import ImageFiles
from pneumo_cli.data.records import Record
from pneumo_cli.runtime.progress import Progress


class Films(FileDataset):
    """Records without files, or with those of a folder."""

    name = "films"
    synthetic = True
    origin = "a test"

    def __init__(self, records: list[Record], classes: tuple[str, ...], root: Path, multilabel: bool) -> None:
        super().__init__(ImageFiles(root), root, Progress())
        self.records, self.classes, self.multilabel = records, classes, multilabel
        self.paths = {record.name: record.name for record in records}


def films(
    root: Path, labels: list[int | tuple[int, ...]], *, classes: int = 2, images: int = 1, suffix: str = ""
) -> Films:
    """A dataset with patients of these labels."""
    records = []
    for number, label in enumerate(labels * images):
        several = label if isinstance(label, tuple) else ()
        name, patient = f"{number}{suffix}", f"patient{number % len(labels)}"
        records.append(Record(name, 0 if several else label, patient, "train", name, labels=several))  # type: ignore[arg-type]
    return Films(records, ("NORMAL", "BACTERIA", "VIRUS")[:classes], root, isinstance(labels[0], tuple))


JPEG, PNG = Container("JPEG", 100, 80, 8, 1, "", 90), Container("PNG", 100, 80, 16, 1)


def test_a_class_in_another_format_and_depth_is_named(tmp_path: Path) -> None:
    data = films(tmp_path, [0, 1] * 10)
    stored = {place: (JPEG, PNG)[record.label] for place, record in enumerate(data.records)}
    found = container_differences(data, stored)
    assert [(one.property, one.title, one.auc, one.patients) for one in found] == [
        ("format", "BACTERIA", 1.0, (10, 10)),
        ("bit depth", "BACTERIA", 1.0, (10, 10)),
    ]
    (sentence,) = shortcuts(found)
    assert sentence.startswith("images of BACTERIA can be told from the others by how they are stored")
    assert "format (AUC 1.000: PNG 100 %; the others JPEG 100 %)" in sentence
    assert container_rows(data, stored)[:2] == [
        ("format", "JPEG 100 %", "PNG 100 %"),
        ("bit depth", "8-bit gray 100 %", "16-bit gray 100 %"),
    ]


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (lambda label, number: Container("JPEG", 100, 80, 8, 1, "", 95 if label else 75), "JPEG quality"),
        (lambda label, number: Container("PNG", 1000 + 200 * label + number, 80, 8, 1), "width"),
        (lambda label, number: Container("PNG", 80, 1000 - 200 * label + number, 8, 1), "height"),
        (lambda label, number: Container("TIFF", 80, 80, 8, 1, "raw" if label else "lzw"), "compression"),
    ],
)
def test_size_quality_and_compression_are_compared(
    tmp_path: Path, of: Callable[[int, int], Container], name: str
) -> None:
    data = films(tmp_path, [0, 1] * 10)
    stored = {place: of(record.label, place) for place, record in enumerate(data.records)}
    assert [one.property for one in container_differences(data, stored)] == [name]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_properties_that_have_nothing_to_do_with_the_class_are_not_named(seed: int, tmp_path_factory) -> None:
    random = np.random.default_rng(seed)
    data = films(tmp_path_factory.getbasetemp(), [0, 1] * 100)
    stored = {
        place: Container(("JPEG", "PNG")[random.integers(2)], int(random.integers(900, 1500)), 800, 8, 1)
        for place in range(len(data.records))
    }
    assert container_differences(data, stored) == ()


def test_patients_count_and_not_images(tmp_path: Path) -> None:
    """Forty images each of two patients say nothing about a class."""
    data = films(tmp_path, [0, 1], images=40)
    stored = {
        place: Container("PNG", 1000 + 100 * record.label, 80, 8, 1)
        for place, record in enumerate(data.records)
    }
    assert container_differences(data, stored) == ()


def test_each_of_several_classes_is_compared_with_the_others(tmp_path: Path) -> None:
    data = films(tmp_path, [0, 1, 2] * 20, classes=3)
    stored = {place: PNG if record.label == 2 else JPEG for place, record in enumerate(data.records)}
    found = container_differences(data, stored)
    assert [one.title for one in found if one.auc == 1] == ["VIRUS", "VIRUS"]
    assert {one.title for one in found} == {"NORMAL", "BACTERIA", "VIRUS"}


def test_labels_at_once_leave_out_unknown_ones(tmp_path: Path) -> None:
    data = films(tmp_path, [(1, 0), (0, 1), (-1, 1), (0, 0)] * 8)
    stored = {place: PNG if record.labels[0] else JPEG for place, record in enumerate(data.records)}
    found = container_differences(data, stored)
    first = [one for one in found if one.title == "NORMAL"]
    assert [(one.auc, one.patients) for one in first] == [(1.0, (8, 16)), (1.0, (8, 16))]


def test_headers_are_read_of_a_sample_with_the_same_number_of_each_class(tmp_path: Path) -> None:
    labels = [0] * 30 + [1] * 6
    data = films(tmp_path, list(labels), suffix=".png")
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(buffer, "PNG")
    for record in data.records:
        (tmp_path / record.name).write_bytes(buffer.getvalue())
    (tmp_path / data.records[0].name).write_bytes(b"damaged")
    everything = read_containers(data)
    assert sorted(everything) == list(range(1, 36))
    assert set(everything.values()) == {Container("PNG", 9, 8, 8, 1)}
    sample = read_containers(data, limit=10, seed=1)
    assert sum(place >= 30 for place in sample) == 5
    assert sample == read_containers(data, limit=10, seed=1)


def test_a_dataset_whose_classes_differ_in_their_files_is_named_from_the_files_themselves(
    tmp_path: Path,
) -> None:
    data = films(tmp_path, [0, 1] * 12)
    ramp = np.tile(np.arange(32, dtype=np.uint16), (32, 1))
    for record in data.records:
        content = io.BytesIO()
        pixels = ramp * 128 if record.label else ramp.astype(np.uint8)
        Image.fromarray(pixels).save(content, "PNG")
        (tmp_path / record.name).write_bytes(content.getvalue())
    (sentence,) = storage_shortcuts(data, limit=20)
    assert sentence.startswith("images of BACTERIA can be told from the others by how they are stored")
    assert "bit depth (AUC 1.000" in sentence
