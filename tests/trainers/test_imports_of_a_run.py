"""Optimizers and the table of layers do not import torch's compiler, and do what torch's own do."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from pneumo_cli.trainers.model_summary import layer_table, stage_rows
from pneumo_cli.trainers.optimization import SGD, Adam, AdamW

_PROGRAM = """
import sys, torch
from torch import nn
from pneumo_cli.trainers.model_summary import layer_table
from pneumo_cli.trainers.optimization import SGD, Adam, AdamW

layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
layers = nn.Sequential(*layers, nn.Linear(4, 2)).to("meta")
assert layer_table(layers, (1, 16, 16)).rows[-1].shape == (2,)
for kind in (SGD, Adam, AdamW):
    weight = nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    weight.square().sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print(*sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""


def test_the_compiler_is_not_imported() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


@pytest.mark.parametrize(
    ("own", "of_torch", "options"),
    [
        (SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (Adam, torch.optim.Adam, {}),
        (AdamW, torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_the_bits_are_those_of_torchs_optimizers(own: Any, of_torch: Any, options: Any, fused: bool) -> None:
    first = nn.Linear(4, 3)
    second = copy.deepcopy(first)
    for model, kind in ((first, own), (second, of_torch), (first, own)):
        optimizer = kind(model.parameters(), lr=0.1, fused=fused, **options)
        assert isinstance(optimizer, of_torch)
        if model is first and kind is own and first.weight.grad is not None:
            continue
        for step in range(4):
            optimizer.zero_grad()
            model(torch.full((2, 4), step / 3)).square().sum().backward()
            optimizer.step()
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    layers: Any = nn.Sequential(nn.ReLU(), nn.ReLU()).to("meta")
    own = layers[0].forward = lambda values: values[..., :3]
    assert [row.shape for row in layer_table(layers, (1, 8, 8)).rows] == [(1, 8, 3)] * 2
    assert stage_rows(list(layers), (1, 8, 8))[-1].shape == (1, 8, 3)
    assert layers[0].forward is own
    assert "forward" not in vars(layers[1])


@pytest.mark.parametrize("bad", [nn.Conv2d(5, 4, 3), nn.Conv2d(3, 4, 99), nn.Linear(5, 4)])
def test_an_input_that_a_layer_refuses_is_refused(bad: nn.Module) -> None:
    with pytest.raises(RuntimeError):
        layer_table(bad.to("meta"), (3, 16, 16))
