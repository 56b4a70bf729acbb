"""Seeds: the same numbers as those of Python's, NumPy's and torch's own functions, at a small part of the cost."""

from __future__ import annotations

import random
import traceback

import numpy as np
import pytest
import torch

from pneumo_cli.runtime import seeding
from pneumo_cli.runtime.seeding import derive, seed_all


def drawn() -> tuple[float, float, list[float], int]:
    return random.random(), np.random.random(), torch.rand(5).tolist(), torch.initial_seed()


@pytest.mark.parametrize("parts", [(), (3, 17, 0), ("evaluation", "train", 2)])
def test_numbers_are_those_of_the_functions_of_python_numpy_and_torch(parts: tuple[int | str, ...]) -> None:
    seed_all(42, *parts)
    found = drawn()
    value = derive(42, *parts)
    random.seed(value), np.random.seed(value & 0xFFFFFFFF), torch.manual_seed(value)
    assert found == drawn()


def test_absent_devices_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.accelerator.is_available():
        pytest.skip("this machine has an accelerator")
    formatted = []
    monkeypatch.setattr(traceback, "format_stack", lambda *given: formatted.append(1) or [])
    torch.manual_seed(1)
    assert formatted  # what torch does for a device that may come later
    formatted.clear()
    seed_all(1)
    assert not formatted


def test_all_devices_are_seeded_where_there_is_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = []
    monkeypatch.setattr(seeding, "_has_accelerator", lambda: True)
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    seed_all(7, "model")
    assert seeded == [derive(7, "model")]
