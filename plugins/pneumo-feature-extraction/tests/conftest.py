"""Runs of the trainer on the suite's small dataset, inside this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.testing import SMALL_NETWORK, empty_workplace, runner_of, write_weights  # noqa: E402
from pneumo_cli.training.runner import Runner  # noqa: E402


@pytest.fixture(scope="session")
def phantom_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the phantom is drawn once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    return empty_workplace(tmp_path, phantom_cache, monkeypatch)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of the small network whose features tell images apart."""
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pt")


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Runner]:
    """A runner with everything but its start, for the settings that are given."""

    def make(**settings: Any) -> Runner:
        places = {"output": tmp_path / "runs", "cache": tmp_path / "cache"}
        return runner_of("feature-extraction", preset="source", **{**SMALL_NETWORK, **places, **settings})

    return make


@pytest.fixture
def trained(prepared: Callable[..., Runner]) -> Callable[..., Runner]:
    """The runner of a run, from its start to its report."""

    def train(**settings: Any) -> Runner:
        runner = prepared(**settings)
        runner.start()
        return runner

    return train
