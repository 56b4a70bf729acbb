"""Runs of the trainer on the suite's small dataset, inside this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.api import hookimpl  # noqa: E402
from pneumo_cli.testing import SMALL_NETWORK, empty_workplace, runner_of, write_weights  # noqa: E402
from pneumo_cli.training.runner import Runner  # noqa: E402


class Ended(BaseException):
    """Ends a run before its report, which takes longer than the training here."""


class EndsWithTheLastEpoch:
    @hookimpl
    def epoch_finished(self, run: Any, metrics: Mapping[str, Any]) -> None:
        if metrics["epoch"] == run.settings.epochs:
            raise Ended


@pytest.fixture(scope="session")
def shared_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of decoded images, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path: Path, shared_images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    return empty_workplace(tmp_path, shared_images, monkeypatch)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of the small network whose features differ between images."""
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pt")


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Runner]:
    """A runner that is set up with the given settings and not started."""

    def make(**settings: Any) -> Runner:
        places = {"output": tmp_path / "runs", "cache": tmp_path / "cache"}
        return runner_of("feature-extraction", preset="source", **{**SMALL_NETWORK, **places, **settings})

    return make


@pytest.fixture
def trained(prepared: Callable[..., Runner]) -> Callable[..., Runner]:
    """The runner of a run without a report: ``trained(**settings)``, or ``trained(runner)``."""

    def train(runner: Runner | None = None, **settings: Any) -> Runner:
        runner = runner or prepared(**settings)
        runner.hooks.add("ending", EndsWithTheLastEpoch())
        with pytest.raises(Ended):
            runner.start()
        return runner

    return train
