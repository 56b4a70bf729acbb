"""Runs of the trainer on the suite's small datasets, inside this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.api import hookimpl  # noqa: E402
from pneumo_cli.runs.folder import RunFolder  # noqa: E402
from pneumo_cli.runs.record import reopen_settings  # noqa: E402
from pneumo_cli.testing import SMALL, empty_workplace, installed_plugins, runner_of  # noqa: E402
from pneumo_cli.trainers.session import set_up  # noqa: E402
from pneumo_cli.training.runner import Runner, open_runner  # noqa: E402

TINY_SETTINGS = {
    "dataset": SMALL.name,
    "epochs": 2,
    "batch_size": 32,
    "width": 4,
    "fidelity_images": 16,
    "extractor": "pixels",
    "device": "cpu",
    "precision": "fp32",  # bf16 only where the processor has it: other numbers
}


class Ended(BaseException):
    """Ends a run before its report, which takes longer than the training here."""


class EndsAfter:
    """Ends a run after an epoch, or after a step of it."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self._at = (epoch, step)

    @hookimpl
    def step_finished(self, run: Any) -> None:
        if (run.epoch, run.step) == self._at:
            raise Ended

    @hookimpl
    def epoch_finished(self, metrics: Any) -> None:
        if (metrics["epoch"], 0) == self._at:
            raise Ended


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of decoded images, shared by all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path: Path, small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    return empty_workplace(tmp_path, small_cache, monkeypatch)


def gan_runner(output: Path, cache: Path, **settings: Any) -> Runner:
    """A runner that is set up and not started."""
    return runner_of("gan", observed=True, **{**TINY_SETTINGS, "output": output, "cache": cache, **settings})


@pytest.fixture
def prepared(tmp_path: Path, small_cache: Path) -> Callable[..., Runner]:
    """A runner that is set up with the given settings and not started."""
    return lambda **settings: gan_runner(tmp_path / "runs", small_cache, **settings)


@pytest.fixture
def ended_after(prepared: Callable[..., Runner]) -> Callable[..., Runner]:
    """The runner of a run that ended after an epoch, or a step of it, without a report."""

    def train(epoch: int, step: int = 0, **settings: Any) -> Runner:
        runner = prepared(**settings)
        runner.hooks.add("ending", EndsAfter(epoch, step))
        with pytest.raises(Ended):
            runner.start()
        return runner

    return train


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_cache: Path) -> Path:
    """The folder of a finished run with its report; not to be changed."""
    runner = gan_runner(tmp_path_factory.mktemp("runs"), small_cache)
    runner.start()
    return runner.run.folder.path


@pytest.fixture(scope="session")
def resumed(tmp_path_factory: pytest.TempPathFactory, small_cache: Path) -> Path:
    """The same run, interrupted in its second epoch and resumed."""
    output = tmp_path_factory.mktemp("runs")
    runner = gan_runner(output, small_cache)
    runner.hooks.add("ending", EndsAfter(2, 1))
    with pytest.raises(Ended):
        runner.start()
    folder = RunFolder.open(runner.run.folder.path)
    plugins = installed_plugins()
    setup = set_up(plugins, reopen_settings(plugins, folder, {}))
    open_runner(setup, plugins.observing(), command=["pneumo"]).resume(folder)
    return folder.path
