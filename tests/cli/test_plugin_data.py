"""Datasets, splits and samplers of a stranger's package, through the program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.errors import DataError, UsageError

CLINIC = '''
import numpy as np
from dataclasses import replace
from pneumo_cli.api import DatasetSpec, SamplerSpec, SplitSpec, hookimpl
from pneumo_cli.data import Dataset, Target
from pneumo_cli.testing import TinyDataset

api_version = 1


class Numbers(TinyDataset):
    """Three channels of 16 bits, a number for each image, and no classes."""

    channels, bits = 3, 16
    targets = (Target("age", "number", "age in years"), Target("lungs", "mask", "both lungs"))

    def __init__(self):
        super().__init__("clinic-numbers")
        self.classes = ()
        self.records = [
            replace(one, label=0, numbers=(float(place),)) for place, one in enumerate(self.records)
        ]

    def read(self, record, size=None):
        gray = super().read(record, size).astype(np.uint16) * 257
        return np.stack([gray, gray // 2, 65535 - gray])

    def read_mask(self, record, target, size=None):
        return (super().read(record, size) > 90).astype(np.uint8)


class Negative(TinyDataset):
    """The records of conformance-tiny with other pixels."""

    def read(self, record, size=None):
        return 255 - super().read(record, size)


class Wrong(TinyDataset):
    def __init__(self, name):
        super().__init__(name)
        self.records[5] = replace(self.records[5], label=-1)


class Floats(TinyDataset):
    def read(self, record, size=None):
        return super().read(record, size) / 255


def numbers(request):
    return Numbers()

def positive(request):
    return TinyDataset("clinic-positive")

def negative(request):
    return Negative("clinic-negative")

def wrong(request):
    return Wrong("clinic-wrong")

def floats(request):
    return Floats("clinic-floats")

def misnamed(request):
    return TinyDataset("tiny")

def nothing(request):
    return [1, 2]

def half(records, fraction, seed):
    pool = [place for place, one in enumerate(records) if one.pool == "train"]
    patients = sorted({records[place].patient for place in pool})
    held_out = set(patients[::4]) | set(patients[1::4])
    return (
        [place for place in pool if records[place].patient not in held_out],
        [place for place in pool if records[place].patient in held_out],
    )

def torn(records, fraction, seed):
    return [0, 1], [1, 2]

def one_each(positions, records, seed, epoch):
    return [place for place in positions if records[place].name.endswith("_0")] * 2


@hookimpl
def register_datasets():
    for name in ("numbers", "positive", "negative", "wrong", "floats", "misnamed", "nothing"):
        yield DatasetSpec(
            name=f"clinic-{name}", summary="A clinic", factory=f"clinic_plugin:{name}", synthetic=True
        )

@hookimpl
def register_splits():
    yield SplitSpec(name="by-half", summary="Half of the patients", split="clinic_plugin:half")
    yield SplitSpec(name="torn", summary="No division", split="clinic_plugin:torn")

@hookimpl
def register_samplers():
    yield SamplerSpec(name="one-each", summary="One of each patient", sample="clinic_plugin:one_each")
'''


@pytest.fixture(autouse=True)
def clinic(install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("pneumo-clinic", {"clinic": "clinic_plugin"}, {"clinic_plugin": CLINIC}, "2.0")
    monkeypatch.setenv("PNEUMO_CACHE", str(tmp_path / "cache"))


def test_numbers_and_masks_without_classes_are_checked(pneumo: Callable[..., Any]) -> None:
    ended = pneumo("data", "check", "--dataset", "clinic-numbers")
    assert ended.code == 0, ended.stderr
    assert "Target age (number): age in years\nTarget lungs (mask): both lungs\n" in ended.stdout
    assert "Images of 3 channels, 16 bits\n" in ended.stdout
    assert "SPLIT       IMAGES  PATIENTS\n" in ended.stdout
    found = json.loads(pneumo("data", "check", "--dataset", "clinic-numbers", "--json").stdout)
    assert (found["channels"], found["bits"]) == (3, 16)
    assert found["targets"][0] == {"name": "age", "kind": "number", "summary": "age in years"}
    assert [row["counts"] for row in found["splits"]] == [{}, {}, {}]


def test_a_plugins_split_is_one_to_check(pneumo: Callable[..., Any]) -> None:
    arguments = ("data", "check", "--dataset", "clinic-positive", "--no-decode")
    found = json.loads(pneumo(*arguments, "--split", "by-half", "--json").stdout)
    assert [row["images"] for row in found["splits"]] == [24, 24, 16]
    ended = pneumo(*arguments, "--split", "torn")
    assert ended.code == 2
    assert "the split torn (pneumo-clinic 2.0): split() gives record 'test/NORMAL/" in ended.stderr
    ended = pneumo(*arguments, "--split", "half")
    assert ended.code == 2
    assert "--split is patient, source, given, by-half, torn, not 'half'" in ended.stderr


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (
            "wrong",
            r"the dataset clinic-wrong (pneumo-clinic 2.0): record 'test/NORMAL/patient028_1': label is -1",
        ),
        (
            "floats",
            r"the dataset clinic-floats (pneumo-clinic 2.0): record 'test/NORMAL/patient024_0': read() gives ",
        ),
        ("misnamed", "(pneumo-clinic 2.0): name is 'tiny': give the registered one, 'clinic-misnamed'"),
        ("nothing", "(pneumo-clinic 2.0): clinic_plugin:nothing returned list, not a Dataset"),
    ],
)
def test_a_dataset_that_breaks_a_rule_is_refused_by_name_before_anything_is_written(
    dataset: str, words: str, pneumo: Callable[..., Any], fakes: Path
) -> None:
    for command in (["data", "check"], ["run", "fake"]):
        ended = pneumo(*command, "--dataset", f"clinic-{dataset}")
        assert ended.code == 2, ended.stderr
        assert words in ended.stderr
        assert not (fakes / "runs").exists()


def test_the_negative_of_a_dataset_is_trained_on_its_own_pixels(start_run: Callable[..., Any]) -> None:
    options = {"epochs": 1, "evaluate_test": False}
    positive = start_run("fake", dataset="clinic-positive", **options).data
    negative = start_run("fake", dataset="clinic-negative", **options).data
    assert negative.fingerprint == positive.fingerprint
    assert np.array_equal(negative.images, 255 - positive.images)
    assert negative.images_digest != positive.images_digest


def test_a_run_takes_a_plugins_split_and_sampling(start_run: Callable[..., Any]) -> None:
    run = start_run(
        "fake",
        dataset="clinic-positive",
        split="by-half",
        sampling="one-each",
        epochs=1,
        evaluate_test=False,
    )
    assert [len(part) for part in run.data.split.parts().values()] == [24, 24, 16]
    assert run.images_per_epoch == 24
    positions = run.training_positions(1)
    assert sorted(positions // 64) == [0] * 12 + [1] * 12
    assert {run.data.dataset.records[place % 64].name[-2:] for place in positions} == {"_0"}


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"split": "torn"}, DataError, "the split torn (pneumo-clinic 2.0)"),
        ({"split": "patent"}, UsageError, "unknown split 'patent'; did you mean patient?"),
        ({"sampling": "one_each"}, UsageError, "unknown sampling 'one_each'; did you mean one-each?"),
    ],
)
def test_a_wrong_split_or_sampling_is_refused_before_anything_is_written(
    options: dict[str, str], kind: type[UsageError], words: str, start_run: Callable[..., Any], fakes: Path
) -> None:
    with pytest.raises(kind) as caught:
        start_run("fake", dataset="clinic-positive", **options)
    assert words in str(caught.value)
    assert not (fakes / "runs").exists()


OPTIONS = """
from pneumo_cli.api import DatasetSpec, hookimpl
from pneumo_cli.settings import DatasetSettings
from pneumo_cli.testing import TinyDataset

api_version = 1


class Options(DatasetSettings):
    windows: list[int] = [1, 2]


@hookimpl
def register_datasets():
    for name in ("windows", "unread", "scaled"):
        yield DatasetSpec(
            name=name, summary="One more", factory=f"{__name__}:{name}", settings=__name__ + ":Options"
        )


def windows(request):
    dataset = TinyDataset("windows")
    dataset.notes = (f"windows {request.options['windows']}",)
    return dataset


class Torn(TinyDataset):
    def read(self, record, size=None):
        raise OSError(5, "torn")


def unread(request):
    return Torn("unread")


class Gray(TinyDataset):
    @property
    def gray_scaling(self):
        raise KeyError("scale")


def scaled(request):
    return Gray("scaled")
"""


@pytest.fixture
def options(install: Callable[..., None]) -> None:
    install("pneumo-options", {"options": "options_plugin"}, {"options_plugin": OPTIONS})


@pytest.mark.parametrize("flags", [["--windows", "5,6"], ["--windows", "5", "--windows", "6"]])
def test_a_list_among_the_options_of_a_dataset(flags: list[str], options: None, pneumo: Any) -> None:
    found = pneumo("data", "check", "--dataset", "windows", "--json", *flags)
    assert json.loads(found.stdout)["notes"] == ["windows [5, 6]"]


def test_a_dataset_without_a_readable_image_says_why(options: None, pneumo: Any) -> None:
    ended = pneumo("data", "check", "--dataset", "unread")
    assert (ended.code, ended.stdout) == (2, "")
    assert "cannot be read: " in ended.stderr
    assert "([Errno 5] torn)" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_property_that_fails_is_named_with_its_dataset(options: None, pneumo: Any) -> None:
    ended = pneumo("data", "check", "--dataset", "scaled")
    assert (ended.code, ended.stderr) == (
        2,
        "pneumo: the dataset scaled (pneumo-options 1.0): gray_scaling failed: KeyError: 'scale'\n",
    )
