"""Replacing heads, and splitting models into stages by their specs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from pneumo_cli.errors import UsageError
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.backbone import head_name, replace_head, stages_of


class Net(nn.Module):
    """A body and any head."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.top = nn.Module()
        self.top.head = head

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.top.head(self.body(values))
        return result


def spec(stages: str = "") -> ModelSpec:
    return ModelSpec(name="net", kind="classifier", summary="A net", factory="some:factory", stages=stages)


@pytest.mark.parametrize(
    "old",
    [
        nn.Linear(6, 1000),
        nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 1000)),
        nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 10)),
    ],
    ids=["a layer", "dropout and a layer", "hidden layers"],
)
def test_a_head_is_replaced_by_dropout_and_one_layer_with_the_same_input_features(old: nn.Module) -> None:
    model = Net(old)
    assert replace_head(model, "top.head", outputs=3, dropout=0.4) is model
    dropout, linear = model.top.head.children()
    assert (type(dropout), dropout.p) == (nn.Dropout, 0.4)
    assert (linear.in_features, linear.out_features) == (6, 3)
    assert model(torch.zeros(2, 4)).shape == (2, 3)


def test_a_head_that_is_a_direct_child_or_within_a_sequence() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 10)))
    replace_head(model, "1.1", outputs=1)
    assert model(torch.zeros(2, 4)).shape == (2, 1)
    replace_head(model, "1", outputs=2)
    assert [type(layer) for layer in model[1]] == [nn.Dropout, nn.Linear]
    assert model[1][0].p == 0.2


def test_equal_seeds_make_equal_heads() -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(replace_head(Net(nn.Linear(6, 3)), "top.head", 1).top.head[1].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_without_a_linear_layer_nothing_is_replaced() -> None:
    model = Net(nn.Conv2d(6, 1, 1))
    with pytest.raises(ValueError, match=r"there is no linear layer at 'top\.head'"):
        replace_head(model, "top.head", 1)
    assert isinstance(model.top.head, nn.Conv2d)
    with pytest.raises(AttributeError, match="nowhere"):
        replace_head(model, "nowhere", 1)


def test_a_sequential_is_split_into_its_layers_and_other_modules_are_not_split() -> None:
    sequence = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))
    assert stages_of(spec(), sequence) == list(sequence)
    assert head_name(sequence, stages_of(spec(), sequence)) == "2"
    whole = Net(nn.Linear(6, 1))
    assert stages_of(spec(), whole) == []
    assert head_name(whole, []) == ""


MODULE = """
def split(model):
    return (model.body, model.top.head)

def broken(model):
    return [model.features]

def no_modules(model):
    return [model.body, "head"]

def nothing(model):
    return None

def wordy(model):
    raise ValueError("no\\n  stages")
"""


@pytest.fixture
def their_module(install: Callable[[str, Mapping[str, str], Mapping[str, str]], None]) -> None:
    """A third party's module with functions that split models."""
    install("pneumo-splitters", {}, {"splitters": MODULE})


@pytest.mark.usefixtures("their_module")
def test_a_model_is_split_by_its_spec_and_the_last_stage_is_its_head() -> None:
    model = Net(nn.Linear(6, 1))
    stages = stages_of(spec("splitters:split"), model)
    assert stages == [model.body, model.top.head]
    assert head_name(model, stages) == "top.head"


@pytest.mark.usefixtures("their_module")
@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("splitters:broken", "AttributeError: 'Net' object has no attribute 'features'"),
        ("splitters:absent", "AttributeError: module 'splitters' has no attribute 'absent'"),
        ("splitters:nothing", "TypeError: "),
        ("splitters:wordy", "ValueError: no stages"),
        ("splitters:no_modules", "no torch.nn.Module"),
        ("not_installed:split", "ModuleNotFoundError: No module named 'not_installed'"),
    ],
)
def test_a_reference_that_fails_is_a_one_line_error_that_names_it(reference: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        stages_of(spec(reference), Net(nn.Linear(6, 1)))
    (line,) = str(caught.value).splitlines()
    assert reference in line
    assert "net" in line
    assert reason in line
