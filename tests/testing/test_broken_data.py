"""Models and datasets that break a rule each are told which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pneumo_cli.data.records import Target
from pneumo_cli.testing import ContractBroken, DatasetConformance, ModelConformance, TinyDataset
from pneumo_cli.testing.datasets import open_targets


class Noisy(nn.Module):
    """Neither repeatable in eval mode nor with all of its parameters in use."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(3, 1)
        self.unused = nn.Linear(3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.used(images.mean((2, 3))) + torch.rand(1)


class Counting(Noisy):
    """Its buffer changes in eval mode; computes in one dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        out = torch.zeros(len(images), 1)
        out[torch.ones(len(images), dtype=torch.bool)] = self.used(images.mean((2, 3)))
        return out


class Uncopied(Noisy):
    def __deepcopy__(self, memo: object) -> Noisy:
        raise TypeError("a model with an open file")


@pytest.mark.parametrize(
    ("model", "test", "said"),
    [
        (Noisy, "test_outputs_are_finite_and_repeatable_in_eval_mode", "equal images give equal outputs"),
        (Noisy, "test_gradients_reach_every_trainable_parameter", "unused.weight"),
        (Counting, "test_outputs_are_finite_and_repeatable_in_eval_mode", "calls changed"),
        (Counting, "test_it_computes_in_bf16", "fixed dtype"),
        (Uncopied, "test_a_copy_gives_the_same_outputs", "open file"),
    ],
)
def test_a_model_that_breaks_a_rule_is_told_which(model: type[nn.Module], test: str, said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        getattr(ModelConformance(), test)(model())


class Faulty(TinyDataset):
    """Gives other images than it has to."""

    def __init__(self, fault: str) -> None:
        super().__init__("tiny")
        self.fault = fault
        self.calls = 0

    def read(self, record: Any, size: int | None = None) -> Any:
        self.calls += 1
        image = super().read(record, size)
        if self.fault == "colour":
            return np.stack([image] * 3, axis=-1)
        if self.fault == "small" and size:
            return image[:16, :16]
        if self.fault == "deep":
            return image.astype(np.uint16) * 256
        if self.fault == "shares":
            return image / 255
        if self.fault == "none":
            return None
        return image + np.uint8(self.calls)


@pytest.mark.parametrize(
    ("fault", "test", "said"),
    [
        ("colour", "test_images_are_uint8_gray_levels_of_sufficient_size", r"\[32, 32, 3\].*gray levels"),
        ("small", "test_images_are_uint8_gray_levels_of_sufficient_size", r"\[16, 16\]"),
        ("deep", "test_images_are_uint8_gray_levels_of_sufficient_size", "uint16"),
        ("shares", "test_images_are_uint8_gray_levels_of_sufficient_size", "float64"),
        ("none", "test_images_are_uint8_gray_levels_of_sufficient_size", "NoneType"),
        ("changing", "test_images_depend_on_neither_order_nor_thread", "seed by the record"),
    ],
)
def test_a_dataset_of_wrong_images_is_told_which_rule(fault: str, test: str, said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        getattr(DatasetConformance(), test)(Faulty(fault))
    getattr(DatasetConformance(), test)(TinyDataset("tiny"))


COMPLETE = "test_every_record_is_complete"


@pytest.mark.parametrize(
    ("change", "test", "said"),
    [
        ({"label": -1}, COMPLETE, "has the label -1 of 2 classes"),
        ({"patient": ""}, COMPLETE, "the key of its patient"),
        ({"digest": None}, COMPLETE, "a hash of its content"),
        ({"pool": "validation"}, COMPLETE, "train or test"),
        ({"name": "train/NORMAL/patient000_1"}, COMPLETE, "64 records with 63 names"),
        ({"pool": "train"}, "test_no_image_or_patient_is_in_two_pools", r"patient0\d\d are in both"),
        ({"label": 1}, "test_records_are_sorted_by_label", "sort them"),
        ({"numbers": (1.0,)}, "test_targets_are_those_that_it_states", "Dataset.targets"),
    ],
)
def test_a_dataset_of_wrong_records_is_told_which_rule(change: Any, test: str, said: str) -> None:
    dataset = TinyDataset("tiny")
    dataset.records = [replace(dataset.records[0], **change), *dataset.records[1:]]
    with pytest.raises(ContractBroken, match=said):
        getattr(DatasetConformance(), test)(dataset)


def test_targets_that_are_not_as_stated_are_told() -> None:
    check = DatasetConformance().test_targets_are_those_that_it_states
    request: Any = None
    right = open_targets(request)
    check(right)
    for change, said in (
        ({"numbers": ()}, "one number for each target"),
        ({"boxes": ((3.0, 3.0, 9.0, 9.0),)}, "shares of width and height"),
    ):
        dataset = open_targets(request)
        dataset.records = [replace(right.records[0], **change), *right.records[1:]]
        with pytest.raises(ContractBroken, match=said):
            check(dataset)
    dataset = open_targets(request)
    dataset.read_mask = lambda record, target, size=None: np.zeros((8, 32), np.uint8)  # type: ignore[method-assign]
    with pytest.raises(ContractBroken, match="of the proportions of its image"):
        check(dataset)
    dataset = TinyDataset("tiny")
    dataset.targets = (Target("age", "number", "age in years"),)
    with pytest.raises(ContractBroken, match="one number for each target"):
        check(dataset)
