"""A run is evaluated on other data only if their classes can mean what it was trained on."""

from __future__ import annotations

import pytest

PLUGIN = """
from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1

@hookimpl
def register_datasets():
    for name in ("swapped", "renamed", "lower"):
        yield DatasetSpec(name=name, summary="The tiny one", factory=f"other_data:open_{name}", synthetic=True)
"""

DATA = """
from pneumo_cli.testing import TinyDataset

def named(name, classes):
    dataset = TinyDataset(name, seed=5)
    dataset.classes = classes
    return dataset

def open_swapped(request): return named("swapped", ("PNEUMONIA", "NORMAL"))
def open_renamed(request): return named("renamed", ("healthy", "sick"))
def open_lower(request): return named("lower", ("normal", "pneumonia"))
"""


COUNTS_PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="counts", summary="Counts its classes", trainer="counts_trainer:Counts",
        settings="pneumo_fake.settings:FakeSettings", kind="classifier", model="tiny-net",
        presets=(Preset(name="source", summary="As it is"),),
    )
"""

COUNTS_TRAINER = """
from pneumo_fake.trainers import FakeTrainer

class Counts(FakeTrainer):
    def as_classifier(self):
        return None

    def calibrate(self, run, validation):
        return {"classes": ["a", "b", "c"]}

    def describe_evaluation(self, run, split, evaluation):
        return evaluation

    def summarize(self, run, evaluations):
        return None
"""


@pytest.fixture
def evaluated(install, pneumo, finished_run):
    """``pneumo evaluate`` of a run on NORMAL and PNEUMONIA, on another dataset."""
    install("other-data", {"other": "other_plugin"}, {"other_plugin": PLUGIN, "other_data": DATA}, "1")
    run = finished_run("fake", "--epochs", "1")

    def on(dataset: str):
        return pneumo("evaluate", run, "--dataset", dataset, "--on", "validation")

    return on


def test_the_same_classes_in_another_order_are_refused(evaluated) -> None:
    ended = evaluated("swapped")
    assert ended.code == 2
    assert "has them in the order PNEUMONIA, NORMAL: --classes NORMAL,PNEUMONIA brings them" in ended.stderr
    assert ended.stdout == ""


def test_other_names_are_evaluated_and_what_stands_for_what_is_said(evaluated) -> None:
    ended = evaluated("renamed")
    assert ended.code == 0, ended.stderr
    assert "it evaluates healthy as NORMAL, sick as PNEUMONIA" in ended.stderr


def test_names_in_another_case_are_the_same(evaluated) -> None:
    ended = evaluated("lower")
    assert ended.code == 0, ended.stderr
    assert "other classes" not in ended.stderr


@pytest.mark.parametrize("dataset", ["fake-three", "fake-labels"])
def test_another_number_of_classes_is_refused(evaluated, dataset: str) -> None:
    ended = evaluated(dataset)
    assert ended.code == 2
    assert "was trained on two classes, and the dataset" in ended.stderr


def test_a_trainer_that_is_no_classifier_may_keep_anything_under_classes(install, pneumo, fakes) -> None:
    install(
        "counts",
        {"counts": "counts_plugin"},
        {"counts_plugin": COUNTS_PLUGIN, "counts_trainer": COUNTS_TRAINER},
        "1",
    )
    assert pneumo("run", "counts", "--epochs", "1").code == 0
    (folder,) = (fakes / "runs" / "counts").iterdir()
    ended = pneumo("evaluate", folder, "--on", "validation")
    assert ended.code == 0, ended.stderr
