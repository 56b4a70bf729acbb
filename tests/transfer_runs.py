"""Fixtures for trainers on pretrained networks: runs on the suite's small dataset and network, in this process.

A plugin's ``conftest.py`` imports them, and says which trainer it is in a fixture ``trainer``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import SMALL_NETWORK, empty_workplace, runner_of, write_weights
from pneumo_cli.training.runner import Runner
from tests.training_only import EndsWithTheLastEpoch, TrainedEnough


@pytest.fixture
def work(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    return empty_workplace(tmp_path, shared_cache, monkeypatch)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of the small network whose features differ between images."""
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pt")


@pytest.fixture
def prepared(trainer: str, tmp_path: Path) -> Callable[..., Runner]:
    """A runner that is set up with the given settings and not started."""

    def make(**settings: Any) -> Runner:
        places = {"output": tmp_path / "runs", "cache": tmp_path / "cache"}
        return runner_of(trainer, preset="source", **{**SMALL_NETWORK, **places, **settings})

    return make


@pytest.fixture
def trained(prepared: Callable[..., Runner]) -> Callable[..., Runner]:
    """The runner of a run without a report: ``trained(**settings)``, or ``trained(runner)``."""

    def train(runner: Runner | None = None, **settings: Any) -> Runner:
        runner = runner or prepared(**settings)
        runner.hooks.add("ending", EndsWithTheLastEpoch())
        with pytest.raises(TrainedEnough):
            runner.start()
        return runner

    return train
