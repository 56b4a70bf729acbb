"""The conformance suite passes for the fake plugins, and finds faulty ones."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from pneumo_cli.data.records import Dataset
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


class Noisy(torch.nn.Module):
    """Neither repeatable in eval mode nor with all of its parameters in use."""

    def __init__(self) -> None:
        super().__init__()
        self.used = torch.nn.Linear(3, 1)
        self.unused = torch.nn.Linear(3, 1)

    def forward(self, images):
        return self.used(images.mean((2, 3))) + torch.rand(1)


def test_the_suite_finds_a_noisy_model_and_a_parameter_without_gradient() -> None:
    suite = TestTinyNet()
    with pytest.raises(AssertionError):
        suite.test_outputs_are_finite_and_repeatable_in_eval_mode(Noisy())
    with pytest.raises(AssertionError, match="unused"):
        suite.test_gradients_reach_every_trainable_parameter(Noisy())


class Faulty(TinyDataset):
    """Reads a different image each time, or one in color, or one that is too small."""

    def __init__(self, fault: str) -> None:
        super().__init__("tiny")
        self.fault = fault
        self.calls = 0

    def read(self, record, size=None):
        self.calls += 1
        image = super().read(record, size)
        if self.fault == "colour":
            return np.stack([image] * 3, axis=-1)
        if self.fault == "small" and size:
            return image[:16, :16]
        return image + np.uint8(self.calls) if self.fault == "changing" else image


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("colour", "test_images_are_uint8_gray_levels_of_sufficient_size"),
        ("small", "test_images_are_uint8_gray_levels_of_sufficient_size"),
        ("changing", "test_images_depend_on_neither_order_nor_thread"),
    ],
)
def test_the_suite_finds_faulty_images(fault: str, check: str) -> None:
    dataset: Dataset = Faulty(fault)
    with pytest.raises(AssertionError):
        getattr(TestTiny(), check)(dataset)
    getattr(TestTiny(), check)(TinyDataset("tiny"))


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
