"""A dataset that breaks a rule is refused: its distribution, the record and the rule are named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.data.cache import decoded_images
from pneumo_cli.data.dataset_checks import check_dataset, read_image, read_mask
from pneumo_cli.data.records import Dataset, DatasetSource, Record, Target
from pneumo_cli.errors import DataError, PneumoError, UnreadableImage, UsageError
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import DatasetSpec
from tests.data.studies import AGE, FINDINGS, LUNGS, Studies

SPEC = DatasetSpec(name="studies", summary="Studies", factory="tests.data.studies:Studies")
TITLE = "the dataset studies (pneumo-studies 1.2)"


def opened(dataset: Dataset) -> Any:
    dataset.opened_from = DatasetSource(Entry(SPEC, Provenance("pneumo-studies", "1.2")), "", {})
    return dataset


def with_record(changes: dict[str, Any], **attributes: Any) -> Any:
    """Studies whose fourth record is another."""
    dataset = opened(Studies(**attributes))
    dataset.records[3] = replace(dataset.records[3], **changes)
    return dataset


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"classes": ("A", "B", "C")},
        {"classes": ["A", "B"]},
        {"channels": 3, "bits": 16, "targets": (AGE, LUNGS, FINDINGS)},
        {"notes": ["Each image counts as a patient."]},
    ],
)
def test_a_well_formed_dataset_passes(attributes: dict[str, Any]) -> None:
    check_dataset(opened(Studies(**attributes)))


@pytest.mark.parametrize(
    "changes",
    [{"label": np.int64(1)}, {"label": True}, {"view": "PA"}, {"subtype": "virus"}, {"digest": "é"}],
)
def test_a_record_with_the_values_that_libraries_give_passes(changes: dict[str, Any]) -> None:
    check_dataset(with_record(changes, classes=("A", "B")))


@pytest.mark.parametrize(
    ("changes", "attributes", "words"),
    [
        ({"name": "study-02"}, {}, "record 'study-02': its name is that of another record"),
        ({"name": ""}, {}, "records[3]: name is empty"),
        ({"name": "a\nb"}, {}, r"name is 'a\nb': no control characters"),
        ({"name": "a\udcff"}, {}, "no control characters"),
        ({"name": "a\x9b31m"}, {}, "no control characters"),
        ({"name": "a\n" + "x" * 5000}, {}, "xxx…: no control characters"),
        ({"name": 7}, {}, "records[3]: name is 7: give a text"),
        ({"patient": None}, {}, "record 'study-03': patient is None: give a text"),
        ({"patient": ""}, {}, "patient is empty"),
        ({"digest": ""}, {}, "record 'study-03': digest is empty"),
        ({"digest": b"ab"}, {}, "digest is b'ab': give a text"),
        ({"subtype": None}, {}, "subtype is None: give a text"),
        ({"view": 1}, {}, "view is 1: give a text"),
        ({"label": -1}, {"classes": ("A", "B")}, "label is -1: give an index into classes, 0 to 1"),
        ({"label": 2}, {"classes": ("A", "B")}, "label is 2"),
        ({"label": 0.0}, {"classes": ("A", "B")}, "label is 0.0"),
        ({"label": None}, {"classes": ("A", "B")}, "label is None"),
        ({"label": 1}, {}, "label is 1: give 0 without classes"),
        ({"labels": (1,)}, {"classes": ("A", "B")}, "labels is (1,): give (), it is for multilabel"),
        ({"pool": "validation"}, {}, "pool is 'validation': give 'train' or 'test'"),
        ({"pool": ["train"]}, {}, "pool is ['train']"),
        ({"pool": np.array([1, 2])}, {}, "pool is array([1, 2])"),
        ({"labels": np.array([0, 1])}, {"classes": ("A", "B")}, "labels is array([0, 1]): give ()"),
        ({"numbers": np.array([5.0])}, {"targets": (AGE,)}, "numbers is array([5.]): give a tuple of 1"),
        ({"validation": 1}, {}, "validation is 1: give True or False"),
        ({"numbers": ()}, {"targets": (AGE,)}, "numbers is (): give a tuple of 1, one for each target"),
        ({"numbers": [5.0]}, {"targets": (AGE,)}, "numbers is [5.0]: give a tuple"),
        ({"numbers": (math.inf,)}, {"targets": (AGE,)}, "numbers is (inf,)"),
        ({"numbers": ("5",)}, {"targets": (AGE,)}, "numbers is ('5',)"),
        ({"numbers": (5.0,)}, {}, "numbers is (5.0,): give a tuple of 0"),
        ({"boxes": ((0, 0, 1, 1),)}, {}, "boxes is ((0, 0, 1, 1),): give () without a target of kind boxes"),
        ({"boxes": ((0.5, 0, 0.5, 1),)}, {"targets": (FINDINGS,)}, "shares from 0 to 1 with left < right"),
        ({"boxes": ((10, 10, 50, 50),)}, {"targets": (FINDINGS,)}, "boxes is ((10, 10, 50, 50),)"),
        ({"boxes": ((0, 0, 1, math.nan),)}, {"targets": (FINDINGS,)}, "boxes is ((0, 0, 1, nan),)"),
        ({"boxes": ((0, 0, 1, 1),) * 201}, {"targets": (FINDINGS,)}, "an image has 201 boxes: at most 200"),
    ],
)
def test_a_record_that_breaks_a_rule_is_named_with_it(
    changes: dict[str, Any], attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        check_dataset(with_record(changes, **attributes))
    assert str(caught.value).startswith(f"{TITLE}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_number_passes() -> None:
    check_dataset(with_record({"numbers": (math.nan,)}, targets=(AGE,)))


def labelled(*labels: Any) -> Any:
    dataset = opened(Studies(classes=("A", "B"), multilabel=True))
    dataset.records = [replace(one, label=0, labels=(1, -1)) for one in dataset.records]
    dataset.records[3] = replace(dataset.records[3], labels=labels[0]) if labels else dataset.records[3]
    return dataset


def test_labels_have_a_known_value_for_each_class() -> None:
    check_dataset(labelled())
    for wrong in ((1,), (1, 2), (), [1, 0], (1, None), None):
        with pytest.raises(
            DataError, match=r"record 'study-03': labels is .*: give a tuple of 2, one for each class"
        ):
            check_dataset(labelled(wrong))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"name": "other"}, "name is 'other': give the registered one, 'studies'"),
        ({"name": 3}, "name is 3: give a text"),
        ({"classes": "AB"}, "classes is 'AB': give a tuple of names"),
        ({"classes": ("A", "")}, "classes is ('A', '')"),
        ({"classes": ("A", " ")}, "classes is ('A', ' '): give a tuple of names, each one line"),
        ({"classes": ("A\nB", "C")}, "each one line"),
        ({"classes": ("\udc00", "C")}, "each one line"),
        ({"classes": ("A", "A")}, "classes names one twice: A, A"),
        ({"multilabel": True}, "multilabel is True without classes"),
        ({"channels": 0}, "channels is 0: give a number from 1 to 16"),
        ({"channels": "3"}, "channels is '3'"),
        ({"bits": 12}, "bits is 12: give 8 or 16"),
        ({"bits": 16.0}, "bits is 16.0: give 8 or 16"),
        ({"targets": (Target("age", [], "x"),)}, "the target age is of kind []"),  # type: ignore[arg-type]
        (
            {"targets": (Target("age", "number", "a\nb"),)},
            "the summary of the target age is 'a\\nb': give one line",
        ),
        ({"origin": None}, "origin is None: give a text"),
        ({"notes": "one"}, "notes is 'one': give a tuple of str"),
        ({"unused": ("a.txt",)}, "unused holds 'a.txt', not a UnusedFiles"),
        ({"targets": ("age",)}, "targets holds 'age', not a Target"),
        ({"targets": (AGE, replace(LUNGS, name="age"))}, "two targets have one name: age, age"),
        ({"targets": (Target("Age", "number", "x"),)}, "the target 'Age' is no lower-case identifier"),
        ({"targets": (Target("age", "text", "x"),)}, "the target age is of kind 'text': number, mask, boxes"),  # type: ignore[arg-type]
        ({"targets": (FINDINGS, replace(FINDINGS, name="more"))}, "2 targets of kind boxes: at most one"),
    ],
)
def test_an_attribute_that_breaks_a_rule_is_named_with_it(attributes: dict[str, Any], words: str) -> None:
    targets = attributes.get("targets", ())
    dataset = opened(Studies(**{**attributes, "targets": ()}))
    dataset.targets = targets
    with pytest.raises(DataError) as caught:
        check_dataset(dataset)
    assert str(caught.value).startswith(f"{TITLE}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (lambda records: iter(records), "records is a list_iterator: give a list or tuple of Record"),
        (lambda records: "abc", "records is a str: give a list"),
        (lambda records: [*records[:2], None], "records[2] is a NoneType, not a Record"),
        (lambda records: [records[0], {"name": "x"}], "records[1] is a dict, not a Record"),
    ],
)
def test_records_are_a_sequence_of_records(records: Callable[[list[Record]], Any], words: str) -> None:
    dataset = opened(Studies())
    dataset.records = records(dataset.records)
    with pytest.raises(DataError) as caught:
        check_dataset(dataset)
    assert words in str(caught.value)


class Bare(Dataset):
    """A dataset that sets too little."""

    name, synthetic, origin, place = "studies", True, "Noise.", "in memory"

    def read(self, record: Record, size: int | None = None) -> np.ndarray:
        return np.zeros((8, 8), np.uint8)


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(DataError, match=r"studies \(pneumo-studies 1\.2\): it has no attribute classes"):
        check_dataset(opened(Bare()))


def test_masks_need_a_method_that_reads_them() -> None:
    dataset = opened(Bare())
    dataset.classes, dataset.records, dataset.targets = (), Studies().records, (LUNGS,)
    with pytest.raises(DataError, match=r"it has masks \(lungs\) and does not define read_mask"):
        check_dataset(dataset)


@pytest.mark.parametrize(
    ("given", "attributes", "words"),
    [
        (None, {}, "read() gives NoneType: give uint8 [height, width] (channels = 1, bits = 8)"),
        ([[1, 2]], {}, "read() gives list"),
        (np.zeros((0, 8), np.uint8), {}, "read() gives an empty array [0, 8]"),
        (np.zeros((8, 8), np.float32), {}, "read() gives float32 [8, 8]: give uint8 [height, width]"),
        (np.zeros((8, 8), np.uint16), {}, "read() gives uint16 [8, 8]: give uint8"),
        (np.zeros((8, 8), np.uint8), {"bits": 16}, "give uint16 [height, width] (channels = 1, bits = 16)"),
        (np.zeros((8, 8, 3), np.uint8), {}, "read() gives uint8 [8, 8, 3]: give uint8 [height, width]"),
        (np.zeros((8, 8, 3), np.uint8), {"channels": 3}, "give uint8 [3, height, width]"),
        (np.zeros((1, 8, 8), np.uint8), {}, "read() gives uint8 [1, 8, 8]"),
        (np.zeros((2, 8, 8), np.uint8), {"channels": 3}, "read() gives uint8 [2, 8, 8]"),
    ],
)
def test_what_is_no_image_is_named_with_the_record_and_ends_the_decoding(
    given: Any, attributes: dict[str, Any], words: str, cache: Path
) -> None:
    dataset = opened(Studies(**attributes))
    dataset.read = lambda record, size=None: given if record.name == "study-03" else dataset.pixels(record)
    with pytest.raises(DataError) as caught:
        decoded_images(dataset, 8, cache, Progress())
    assert str(caught.value).startswith(f"{TITLE}: record 'study-03': ")
    assert words in str(caught.value)
    assert not any((cache / "decoded").iterdir())


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("several\nlines"), SystemExit(3)], ids=repr)
def test_a_mistake_in_read_is_no_unreadable_image(error: BaseException) -> None:
    dataset = opened(Studies())

    def fails(record: Record, size: int | None = None) -> np.ndarray:
        raise error

    dataset.read = fails
    with pytest.raises(DataError) as caught:
        read_image(dataset, dataset.records[0])
    assert f"record 'study-00': read() failed: {type(error).__name__}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [UnreadableImage("torn"), OSError("gone")], ids=repr)
def test_what_read_may_raise_passes(error: Exception) -> None:
    dataset = opened(Studies())

    def fails(record: Record, size: int | None = None) -> np.ndarray:
        raise error

    dataset.read = fails
    with pytest.raises(type(error)) as caught:
        read_image(dataset, dataset.records[0])
    assert caught.value is error


@pytest.mark.parametrize(
    "given", [np.zeros((8, 8), bool), np.zeros((1, 8, 8), np.uint8), None, np.zeros((8, 0), np.uint8)]
)
def test_what_is_no_mask_is_named(given: Any) -> None:
    dataset = opened(Studies(targets=(LUNGS,)))
    dataset.read_mask = lambda record, target, size=None: given
    with pytest.raises(DataError, match=r"record 'study-00': read_mask\(\) gives .* for the mask lungs"):
        read_mask(dataset, dataset.records[0], "lungs")


def test_an_error_of_pneumo_keeps_its_exit_code_and_names_the_record() -> None:
    dataset = opened(Studies())
    for error, kind in ((UsageError("no key"), DataError), (PneumoError("no decoder"), PneumoError)):
        dataset.read = raising(error)
        with pytest.raises(kind, match=rf"record 'study-00': read\(\) failed: {error}$") as caught:
            read_image(dataset, dataset.records[0])
        assert caught.value.exit_code == error.exit_code
    dataset.read = raising(MemoryError())
    with pytest.raises(PneumoError, match=r"record 'study-00': read\(\) failed: out of memory$"):
        read_image(dataset, dataset.records[0])


def raising(error: Exception) -> Any:
    def fails(record: Record, size: int | None = None) -> np.ndarray:
        raise error

    return fails


def test_big_endian_samples_are_those_of_the_machine() -> None:
    dataset = opened(Studies(bits=16))
    dataset.read = lambda record, size=None: np.array([[1, 256]], ">u2")
    image = read_image(dataset, dataset.records[0])
    assert image.dtype == np.uint16
    assert image.tolist() == [[1, 256]]


def test_an_array_with_gaps_is_no_image() -> None:
    dataset = opened(Studies())
    dataset.read = lambda record, size=None: np.ma.masked_array(np.ones((4, 4), np.uint8), np.eye(4))
    with pytest.raises(DataError, match=r"read\(\) gives MaskedArray: give uint8"):
        read_image(dataset, dataset.records[0])


@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (80, 30)])
def test_a_mask_of_other_proportions_than_its_image_is_refused(cache: Path, shape: tuple[int, int]) -> None:
    dataset = opened(Studies(targets=(LUNGS,)))
    dataset.read_mask = lambda record, target, size=None: np.ones(shape, np.uint8)
    with pytest.raises(DataError, match=r"read_mask\(\) gives the mask lungs of .* for an image of 40 x 40"):
        decoded_images(dataset, 16, cache, Progress())


@pytest.mark.parametrize("shape", [(40, 40), (20, 20), (41, 40), (400, 400)])
def test_a_mask_of_another_resolution_passes(cache: Path, shape: tuple[int, int]) -> None:
    dataset = opened(Studies(targets=(LUNGS,)))
    dataset.read_mask = lambda record, target, size=None: np.ones(shape, np.uint8)
    assert (decoded_images(dataset, 16, cache, Progress()).masks["lungs"] == 1).all()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreadableImage("torn\n\x1b[31m here"), "torn [31m here"),
        (UnreadableImage(""), "damaged (UnreadableImage)"),
    ],
)
def test_why_an_image_cannot_be_read_is_one_line(cache: Path, error: Exception, reason: str) -> None:
    dataset = opened(Studies())
    dataset.read = raising(error)
    assert decoded_images(dataset, 16, cache, Progress()).unreadable[0] == reason


@pytest.mark.parametrize(
    ("modules", "words"), [("pydicom", "is 'pydicom': give a tuple of str"), ([3], "holds 3, not a str")]
)
def test_modules_that_read_images_are_named_in_a_tuple(modules: Any, words: str) -> None:
    class Odd(Studies):
        reading_modules = modules

    with pytest.raises(DataError, match=f"reading_modules {words}"):
        check_dataset(opened(Odd()))
