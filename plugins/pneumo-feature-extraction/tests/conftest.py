"""Runs of the trainer on the suite's small dataset, inside this process."""

from __future__ import annotations

import pytest

from tests.transfer_runs import prepared, trained, weights, work

__all__ = ["prepared", "trained", "trainer", "weights", "work"]


@pytest.fixture
def trainer() -> str:
    """The name of the trainer."""
    return "feature-extraction"
