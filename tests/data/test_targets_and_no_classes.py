"""Datasets with numbers, masks and boxes, with several channels or 16 bits, and without classes."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.data.examination import class_patients, examine
from pneumo_cli.data.leakage import find_leaks, near_duplicates_within
from pneumo_cli.data.prepare import PreparedData, SplitRequest, prepare
from pneumo_cli.data.records import Record
from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.runtime.progress import Progress
from tests.data.studies import AGE, FINDINGS, LUNGS, Studies


def prepared(dataset: Studies, cache: Path, **changes: Any) -> PreparedData:
    arguments: dict[str, Any] = {
        "size": 32,
        "split": SplitRequest("patient"),
        "cache": cache,
        "progress": Progress(),
        "skip_unreadable": False,
    }
    return prepare(dataset, **(arguments | changes))


def test_targets_are_prepared_by_name(cache: Path) -> None:
    dataset = Studies(targets=(AGE, LUNGS, FINDINGS))
    dataset.records[4] = replace(dataset.records[4], numbers=(float("nan"),))
    data = prepared(dataset, cache)
    assert data.numbers["age"].dtype == np.float32
    assert data.numbers["age"][:4].tolist() == [0, 1, 2, 3]
    assert np.isnan(data.numbers["age"][4])
    assert data.masks["lungs"].shape == (32, 32, 32)
    assert data.boxes is not None
    assert data.boxes.shape == (32, 2, 4)
    assert np.isnan(data.boxes[0]).all()
    assert data.boxes[1, 0].tolist() == [0.25, 0.25, 0.5, 0.75]
    assert np.isnan(data.boxes[1, 1]).all()
    assert data.labels.tolist() == [0] * 32


def test_without_targets_there_are_none(cache: Path) -> None:
    data = prepared(Studies(classes=("A", "B")), cache)
    assert (dict(data.masks), dict(data.numbers), data.boxes) == ({}, {}, None)


def test_the_fingerprint_counts_numbers_and_boxes_only_where_there_are_some() -> None:
    record = Record("a", 0, "p", "train", "d")
    plain, aged, other, boxed = (Studies() for _ in range(4))
    plain.records = [record]
    aged.records = [replace(record, numbers=(3.0,))]
    other.records = [replace(record, numbers=(4.0,))]
    boxed.records = [replace(record, boxes=((0, 0, 1, 1),))]
    assert len({one.fingerprint for one in (plain, aged, other, boxed)}) == 4
    # As in version 0.2, whose runs are resumed.
    assert plain.fingerprint == "86c3cb6d5c903b9ec1530ba393a90c61e13d48f9f8c5db10da47783100ab0897"


@pytest.mark.parametrize("policy", ["patient", "source", "last", "all"])
def test_images_without_classes_are_split_by_each_policy(policy: str, cache: Path) -> None:
    data = prepared(Studies(), cache, split=SplitRequest(policy))
    parts = [len(part) for part in data.split.parts().values()]
    assert parts == ([24, 0, 8] if policy == "all" else [18, 6, 8])
    if policy == "patient":
        assert not data.overlaps.leaks
    assert [row.counts for row in data.table()] == [{}, {}, {}]
    assert [row.ratio for row in data.table()] == [None] * 3


def test_images_without_classes_are_divided_into_folds(cache: Path) -> None:
    held_out = [
        prepared(Studies(), cache, split=SplitRequest("patient", folds=3, fold=fold)).split.validation
        for fold in (1, 2, 3)
    ]
    assert len(np.unique(np.concatenate(held_out))) == 24


def test_a_pool_that_is_too_small_says_so_without_a_class(cache: Path) -> None:
    dataset = Studies()
    dataset.records = [replace(one, patient="p") if one.pool == "train" else one for one in dataset.records]
    with pytest.raises(DataError, match=r"leaves no image for \w+: .* has too few patients$"):
        prepared(dataset, cache)


def test_a_class_cannot_be_chosen_where_there_are_none(cache: Path) -> None:
    with pytest.raises(
        UsageError, match=r'no class .PNEUMONIA.; it has no classes .*--images-of "" all images'
    ):
        prepared(Studies(), cache, only="PNEUMONIA")


@pytest.mark.parametrize("policy", ["patient", "source"])
def test_a_dataset_without_classes_is_examined_without_decoding(policy: str) -> None:
    dataset = Studies(targets=(AGE,))
    found = examine(dataset, SplitRequest(policy))
    assert [row.images for row in found.table()] == [18, 6, 8]
    assert dataset.reads == 0
    assert class_patients(dataset, found.split.test) == {}
    assert asdict(found.table()[0])["counts"] == {}


@pytest.mark.parametrize(("channels", "bits"), [(1, 16), (3, 8), (2, 16)])
def test_copies_are_found_among_images_of_every_kind(cache: Path, channels: int, bits: int) -> None:
    class Copied(Studies):
        """A training image is also a test image, and a flipped one another patient's training image."""

        def pixels(self, record: Record) -> np.ndarray:
            if record.name == "study-07":
                return super().pixels(self.records[0])
            image = super().pixels(self.records[2] if record.name == "study-09" else record)
            return np.ascontiguousarray(image[..., ::-1]) if record.name == "study-09" else image

    data = prepared(Copied(channels=channels, bits=bits), cache, split=SplitRequest("all"))
    leaks = find_leaks(data)
    assert leaks.compared
    between = {(leak.first, leak.second): leak for leak in leaks.pairs}
    (pair,) = between["train", "test"].pairs
    assert (pair.kind, pair.first, pair.second) == ("pixels", 0, 7)
    (flipped,) = near_duplicates_within(data)["train"]
    assert (flipped.first, flipped.second, flipped.flipped) == (2, 9, True)
    assert data.gray_levels(np.array([0, 7])).shape == (2, 32, 32)


def test_gray_levels_of_8_bit_images_are_the_images(cache: Path) -> None:
    data = prepared(Studies(), cache)
    assert data.gray is data.images
    assert np.array_equal(data.gray_levels(np.array([3])).numpy(), data.images[[3]])
