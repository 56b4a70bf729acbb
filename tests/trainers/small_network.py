"""A small network, weights for it, and loading them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.pretrained import load_pretrained


def network(outputs: int = 1, width: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )


def entry(weights: str = "") -> Entry[ModelSpec]:
    spec = ModelSpec(name="net", kind="classifier", summary="A net", factory="some:factory", weights=weights)
    return Entry(spec, Provenance("pneumo-net", "1.0"))


def other_state(outputs: int = 1, **options: Any) -> dict[str, Tensor]:
    """Values that differ from those of a new network."""
    torch.manual_seed(9)
    state = network(outputs, **options).state_dict()
    return {name: (value + torch.randn(value.shape)).to(value.dtype) for name, value in state.items()}


def load(model: nn.Module, weights: object, weights_of: str = "") -> str:
    stages = list(model.children()) if isinstance(model, nn.Sequential) else []
    return load_pretrained(model, stages, entry(weights_of), str(weights), Progress())


def differing(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    own = model.state_dict()
    return [name for name in own if name not in state or not torch.equal(own[name], state[name])]


def refused(weights: object, model: nn.Module | None = None, weights_of: str = "") -> str:
    """The one-line error for these weights; the model stays bitwise unchanged."""
    model = model or network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load(model, weights, weights_of)
    assert differing(model, before) == []
    (line,) = str(caught.value).splitlines()
    return line
