"""The conformance suites pass for the fake plugins. That they find faulty ones: test_broken_*.py."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from pneumo_cli.installation import pip_install
from pneumo_cli.testing import DatasetConformance, ModelConformance, TinyDataset, TrainerConformance


@pytest.fixture(autouse=True)
def installed(fakes):
    """The fake distribution is installed while the suite runs."""


class TestFakeTrainer(TrainerConformance):
    name = "fake"


class TestDuelTrainer(TrainerConformance):
    name = "duel"


class TestTinyNet(ModelConformance):
    name = "tiny-net"


class TestTwoNets(ModelConformance):
    name = "two-nets"
    options: ClassVar = {"latent": 5}

    def output(self, model, size):
        return model.discriminator(model.generator(torch.linspace(-1, 1, 20).reshape(4, 5)))


class TestTiny(DatasetConformance):
    name = "tiny"


class TestSeeded(DatasetConformance):
    name = "seeded"

    @pytest.fixture
    def data_root(self, tmp_path):
        (tmp_path / "seed.txt").write_text("3")
        return tmp_path


class TestThree(DatasetConformance):
    name = "fake-three"


class TestLabels(DatasetConformance):
    name = "fake-labels"


def test_without_pytest_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import pneumo_cli.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"needs pytest: {pip_install('pneumo-cli[testing]')}")


@pytest.mark.parametrize(
    ("labels", "label"), [((1, 0), 0), ((1, 0, 2), 0), ((), 0), ((1, 0, -1), 1)], ids=str
)
def test_the_suite_finds_faulty_labels(labels: tuple[int, ...], label: int) -> None:
    dataset = TinyDataset("tiny")
    dataset.classes, dataset.multilabel = ("a", "b", "c"), True
    right = [replace(record, label=0, labels=(1, 0, -1)) for record in dataset.records]
    dataset.records = right
    TestTiny().test_several_labels_are_present_absent_or_unknown(dataset)
    dataset.records = [*right[1:], replace(right[0], label=label, labels=labels)]
    with pytest.raises(AssertionError):
        TestTiny().test_several_labels_are_present_absent_or_unknown(dataset)
    dataset.records, dataset.multilabel = right, False
    with pytest.raises(AssertionError):
        TestTiny().test_several_labels_are_present_absent_or_unknown(dataset)
