"""Runs of the trainer on the suite's small datasets, inside this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.api import hookimpl  # noqa: E402
from pneumo_cli.folder import RunFolder  # noqa: E402
from pneumo_cli.layers import resolve  # noqa: E402
from pneumo_cli.progress import Progress  # noqa: E402
from pneumo_cli.ranks import Ranks  # noqa: E402
from pneumo_cli.runner import Runner  # noqa: E402
from pneumo_cli.session import observing_plugins, open_run, reopen_settings  # noqa: E402
from pneumo_cli.testing import SMALL, installed_plugins  # noqa: E402

TINY_SETTINGS = {
    "dataset": SMALL.name,
    "epochs": 2,
    "batch_size": 32,
    "width": 4,
    "judged": 16,
    "extractor": "pixels",
    "device": "cpu",
    "precision": "fp32",  # so that it goes the same way on every processor
}


class Ended(BaseException):
    """Ends a run when a test has seen enough: a report takes longer than the training here."""


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
    """Where the images are prepared once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(tmp_path: Path, small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, apart from the user's settings and folders."""
    for name in [name for name in os.environ if name.upper().startswith("PNEUMO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PNEUMO_CACHE", str(small_cache))
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def runner_of(output: Path, cache: Path, **settings: Any) -> Runner:
    """A runner with everything but its start."""
    plugins = installed_plugins()
    flags = {**TINY_SETTINGS, "output": output, "cache": cache, **settings}
    resolved = resolve(plugins, plugins.trainers.get("gan"), flags, environ={})
    return Runner(open_run(plugins, resolved, Progress(), Ranks()), observing_plugins(plugins), ["pneumo"])


@pytest.fixture
def prepared(tmp_path: Path, small_cache: Path) -> Callable[..., Runner]:
    """A runner with everything but its start, for the settings that are given."""
    return lambda **settings: runner_of(tmp_path / "runs", small_cache, **settings)


@pytest.fixture
def ended_after(prepared: Callable[..., Runner]) -> Callable[..., Runner]:
    """The runner of a run that ended after an epoch, or after a step of it, without a report."""

    def train(epoch: int, step: int = 0, **settings: Any) -> Runner:
        runner = prepared(**settings)
        runner.hooks.add("ending", EndsAfter(epoch, step))
        with pytest.raises(Ended):
            runner.start()
        return runner

    return train


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_cache: Path) -> Path:
    """The folder of a run from its start to its report; not to be changed."""
    runner = runner_of(tmp_path_factory.mktemp("runs"), small_cache)
    runner.start()
    return runner.run.folder.path


@pytest.fixture(scope="session")
def resumed(tmp_path_factory: pytest.TempPathFactory, small_cache: Path) -> Path:
    """The same run, that died in its second epoch and was taken up again."""
    output = tmp_path_factory.mktemp("runs")
    runner = runner_of(output, small_cache)
    runner.hooks.add("ending", EndsAfter(2, 1))
    with pytest.raises(Ended):
        runner.start()
    folder = RunFolder.open(runner.run.folder.path)
    plugins = installed_plugins()
    run = open_run(plugins, reopen_settings(plugins, folder, {}), Progress(), Ranks())
    Runner(run, observing_plugins(plugins), ["pneumo"]).resume(folder)
    return folder.path
