"""Parameter groups, their learning rates and weight decays, and the schedule of a run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pneumo_cli.trainers.optimization import parameter_groups, warm_cosine


class Net(nn.Module):
    """Four stages with parameters, one without, and a parameter that is in no stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.block = nn.Conv2d(4, 4, 3)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 1))
        self.temperature = nn.Parameter(torch.ones(1, 1))

    @property
    def stages(self) -> list[nn.Module]:
        return [self.stem, self.norm, self.relu, self.block, self.head]


def rates(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by name of parameter; each is in one group exactly."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in groups:
        assert group["params"], "no group is empty"
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found, f"{name} is in two groups"
            found[name] = (group["lr"], group["weight_decay"])
    return found


def test_by_default_all_parameters_are_one_group_in_the_order_of_the_model() -> None:
    model = Net()
    (group,) = parameter_groups(model, model.stages, lr=0.1, weight_decay=0.01)
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.01)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    trained=st.lists(st.booleans(), min_size=9, max_size=9),
    with_stages=st.booleans(),
    decay_norms=st.booleans(),
    layer_decay=st.sampled_from([1.0, 0.9, 0.5]),
    weight_decay=st.sampled_from([0.0, 0.05]),
)
def test_each_trainable_parameter_is_in_exactly_one_group_and_frozen_ones_are_in_none(
    trained: list[bool], with_stages: bool, decay_norms: bool, layer_decay: float, weight_decay: float
) -> None:
    model = Net()
    parameters = list(model.named_parameters())
    assert len(parameters) == len(trained)
    for (_, parameter), flag in zip(parameters, trained, strict=True):
        parameter.requires_grad_(flag)
    groups = parameter_groups(
        model,
        model.stages if with_stages else [],
        lr=0.1,
        weight_decay=weight_decay,
        decay_norms=decay_norms,
        layer_decay=layer_decay,
    )
    found = rates(model, groups)
    assert set(found) == {name for name, parameter in parameters if parameter.requires_grad}
    assert len({(group["lr"], group["weight_decay"]) for group in groups}) == len(groups)
    assert [group["lr"] for group in groups] == sorted((group["lr"] for group in groups), reverse=True)


def test_biases_and_norms_do_not_decay_without_decay_norms() -> None:
    model = Net()
    found = rates(model, parameter_groups(model, model.stages, lr=0.1, weight_decay=0.01, decay_norms=False))
    weights = {"stem.weight", "block.weight", "head.1.weight", "temperature"}
    assert {name for name, (_, decay) in found.items() if decay == 0.01} == weights
    assert {decay for name, (_, decay) in found.items() if name not in weights} == {0.0}
    assert {rate for rate, _ in found.values()} == {0.1}


def test_rates_fall_by_a_factor_per_stage_away_from_the_head() -> None:
    model = Net()
    found = rates(model, parameter_groups(model, model.stages, lr=1.0, weight_decay=0.01, layer_decay=0.5))
    expected = {"temperature": 1.0, "head.1": 1.0, "block": 0.5, "norm": 0.25, "stem": 0.125}
    for name, (rate, decay) in found.items():
        stage = name if name == "temperature" else name.rpartition(".")[0]
        assert rate == expected[stage], name  # the stage without parameters is not counted
        assert decay == 0.01


def test_frozen_stages_are_not_counted_and_partly_frozen_ones_are() -> None:
    model = Net()
    model.norm.requires_grad_(False)
    model.block.weight.requires_grad_(False)
    found = rates(model, parameter_groups(model, model.stages, lr=1.0, weight_decay=0.0, layer_decay=0.5))
    assert {name: rate for name, (rate, _) in found.items()} == {
        "temperature": 1.0,
        "head.1.weight": 1.0,
        "head.1.bias": 1.0,
        "block.bias": 0.5,
        "stem.weight": 0.25,
        "stem.bias": 0.25,
    }


def test_the_head_is_in_the_first_group() -> None:
    model = Net()
    groups = parameter_groups(
        model, model.stages, lr=1.0, weight_decay=0.01, decay_norms=False, layer_decay=0.5
    )
    assert any(parameter is model.head[1].weight for parameter in groups[0]["params"])
    assert len(groups) == 7  # four rates, each with and without decay, except that norms do not decay


def test_without_stages_every_parameter_has_the_head_s_rate() -> None:
    model = Net()
    found = rates(model, parameter_groups(model, [], lr=0.3, weight_decay=0.0, layer_decay=0.5))
    assert {rate for rate, _ in found.values()} == {0.3}


def test_a_parameter_of_two_stages_has_the_rate_of_the_later_one() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 1))
    stages = list(model)
    found = rates(model, parameter_groups(model, stages, lr=1.0, weight_decay=0.0, layer_decay=0.5))
    assert found["0.weight"][0] == 0.5


def test_an_optimizer_accepts_the_groups() -> None:
    model = Net()
    groups = parameter_groups(
        model, model.stages, lr=0.1, weight_decay=0.01, decay_norms=False, layer_decay=0.5
    )
    optimizer = torch.optim.AdamW(groups)
    assert [group["lr"] for group in optimizer.param_groups] == [group["lr"] for group in groups]


# --- the schedule -----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(updates=st.integers(1, 500), share=st.floats(0, 0.9))
def test_the_factor_rises_to_one_and_then_falls_to_zero(updates: int, share: float) -> None:
    warmup = int(updates * share)
    factor = warm_cosine(updates, warmup)
    factors = [factor(update) for update in range(updates + 1)]
    rise, fall = factors[: warmup + 1], factors[warmup:]
    assert all(a < b for a, b in pairwise(rise))
    assert all(a > b for a, b in pairwise(fall))
    assert factors[warmup] == 1.0
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(value > 0 for value in factors[:-1])  # every update has an effect
    assert max(factors) <= 1.0


def test_the_warm_up_is_linear_and_the_decay_is_half_a_cosine() -> None:
    factor = warm_cosine(104, 4)
    assert [factor(update) for update in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factor(54) == pytest.approx(0.5)
    assert factor(29) == pytest.approx((1 + 0.5**0.5) / 2)
    assert factor(79) == pytest.approx((1 - 0.5**0.5) / 2)


@pytest.mark.parametrize("warmup", [0, 5, 10, 20])
def test_the_factor_stays_at_zero_after_the_end(warmup: int) -> None:
    factor = warm_cosine(10, warmup)
    for update in range(max(10, warmup + 1), 60):
        assert factor(update) == pytest.approx(0.0, abs=1e-12)


def test_a_run_that_is_all_warm_up_does_not_divide_by_zero() -> None:
    factor = warm_cosine(3, 3)
    assert [factor(update) for update in range(3)] == pytest.approx([0.25, 0.5, 0.75])
    warm_cosine(0, 0)(0)


def test_as_a_torch_scheduler_it_scales_the_rate_of_each_group() -> None:
    model = nn.Linear(1, 1)
    groups = [{"params": [model.weight], "lr": 1.0}, {"params": [model.bias], "lr": 0.1}]
    optimizer = torch.optim.SGD(groups)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_cosine(6, 2))
    seen = []
    for _ in range(6):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    first, second = zip(*seen, strict=True)
    assert first == pytest.approx([1 / 3, 2 / 3, 1.0, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5])
    assert second == pytest.approx([0.1 * value for value in first])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)
