"""A dataset of any size is examined without decoding, and says what it leaves out."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pneumo_cli.data.examination import class_patients, examine, examined, facts, label_counts, unused_images
from pneumo_cli.data.files import UNREADABLE, ImageFiles
from pneumo_cli.data.prepare import SplitRequest, prepare
from pneumo_cli.data.records import Dataset, Record, UnusedFiles
from pneumo_cli.errors import DataError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.testing import TinyDataset


class Listed(Dataset):
    """Records without images."""

    name, classes, multilabel = "listed", ("edema", "mass", "hernia"), True
    synthetic, origin, place = True, "For tests.", "nowhere"

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    def read(self, record: Record, size: int | None = None) -> np.ndarray:
        raise AssertionError("an image was read")


def many(images: int) -> Listed:
    """Labels as frequent as in ChestX-ray14, four images per patient, every tenth image twice."""
    rng = np.random.default_rng(0)
    labels = (rng.random((images, 3)) < (0.1, 0.05, 0.002)).astype(int)
    labels[rng.random(labels.shape) < 0.1] = -1
    return Listed(
        [
            Record(
                name=f"{place:08}.png",
                label=0,
                patient=f"p{place // 4}",
                pool="test" if place // 4 % 5 == 0 else "train",
                digest=f"{place - place % 10 // 9:064x}",
                labels=tuple(row),
            )
            for place, row in enumerate(labels.tolist())
        ]
    )


def test_112_120_records_are_examined_in_seconds_without_an_image() -> None:
    dataset = many(112_120)
    start = time.perf_counter()
    found = examine(dataset, SplitRequest("patient"))
    assert time.perf_counter() - start < 15
    assert sum(len(part) for part in found.split.parts().values()) + len(found.split.excluded) == 112_120
    assert len(found.overlaps.identical) == 11_212
    assert not found.overlaps.leaks
    assert not found.decoded
    assert [row.split for row in found.table()] == ["train", "validation", "test"]


def test_it_finds_what_decoding_finds_of_split_and_overlaps(tmp_path: Path) -> None:
    dataset, request = TinyDataset(), SplitRequest("source", 0.25, 7)
    data = prepare(
        dataset, size=16, split=request, cache=tmp_path, progress=Progress(), skip_unreadable=False
    )
    with_images, without = examined(data), examine(dataset, request)
    assert with_images.overlaps == without.overlaps
    assert with_images.table() == without.table()
    assert (with_images.decoded, without.decoded) == (True, False)


def test_a_file_that_could_not_be_opened_is_unreadable_without_decoding() -> None:
    dataset = many(4000)
    broken = dataset.records[7]
    dataset.records[7] = Record(
        broken.name, 0, broken.patient, broken.pool, UNREADABLE + broken.name, labels=broken.labels
    )
    assert examine(dataset, SplitRequest("patient")).unreadable == ((broken.name, "its file cannot be read"),)


def test_without_test_images_there_is_nothing_to_examine() -> None:
    dataset = many(400)
    dataset.records = [record for record in dataset.records if record.pool == "train"]
    with pytest.raises(DataError, match=r"listed \(nowhere\) has no test images"):
        examine(dataset, SplitRequest("patient"))


def test_labels_are_counted_as_present_absent_and_unknown() -> None:
    dataset = many(400)
    for place, of in enumerate(label_counts(dataset)):
        values = [record.labels[place] for record in dataset.records]
        assert of["name"] == dataset.classes[place]
        assert (of["present"], of["absent"], of["unknown"]) == tuple(map(values.count, (1, 0, -1)))
    assert label_counts(TinyDataset()) == []


def test_patients_of_a_class_are_counted_once() -> None:
    def record(name: str, patient: str, *labels: int) -> Record:
        return Record(name, 0, patient, "test", name, labels=labels)

    dataset = Listed(
        [
            record("a", "p", 1, 0, 0),
            record("b", "p", 1, 1, -1),
            record("c", "q", 1, 0, 0),
            record("d", "r", 1, 1, 1),
        ]
    )
    assert class_patients(dataset, np.array([0, 1, 2])) == {"edema": 2, "mass": 1, "hernia": 0}


def test_kinds_of_unused_images_are_named_the_largest_first_and_at_most_five() -> None:
    dataset = many(40)
    dataset.unused = [
        UnusedFiles("of the type .txt", 900, ("a.txt",), images=False),
        *(UnusedFiles(f"in the folder {k}", k, (f"{k}/a.png",)) for k in range(1, 8)),
    ]
    lines = unused_images(dataset)
    assert lines[0] == "not used: 7 files in the folder 7 (7/a.png, …)"
    assert len(lines) == 6
    assert lines[-1] == "not used: 2 more kinds of files; pneumo data check names them"
    dataset.unused = dataset.unused[:3]
    assert unused_images(dataset) == [
        "not used: 2 files in the folder 2 (2/a.png, …)",
        "not used: 1 file in the folder 1 (1/a.png)",
    ]


def test_gray_levels_are_not_looked_for_where_nothing_is_decoded() -> None:
    class Deep(Listed):
        @property
        def gray_scaling(self) -> str:
            raise AssertionError("images were read")

    assert facts(Deep(many(40).records), decoded=False)["gray_scaling"] == ""


def test_hidden_images_and_pipes_are_named_among_the_unused_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    for name in (".a.png", ".b.png", ".c.png", ".d.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "gone").symlink_to("nowhere")
    dataset = many(10)
    dataset.unused = (UnusedFiles("of the type .txt", 1, ("a.txt",), images=False),)
    dataset.files = ImageFiles(tmp_path)  # type: ignore[attr-defined]
    dataset.files.files()  # type: ignore[attr-defined]
    assert [
        (one["kind"], one["count"], one["images"]) for one in facts(dataset, decoded=False)["unused"]
    ] == [
        ("of the type .txt", 1, False),
        ("of no regular kind (pipe, socket, device or broken link)", 1, False),
        ("with a hidden name or folder", 4, True),
    ]
    assert unused_images(dataset) == [
        "not used: 4 files with a hidden name or folder (.a.png, .b.png, .c.png, …)"
    ]
