"""Shared by the tests of runs and groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def count_accesses(fake_environ: dict[str, str]) -> Callable[[Path], int]:
    """The number of recorded test-set accesses by a run or group."""

    def count(folder: Path) -> int:
        logs = Path(fake_environ["PNEUMO_DATA_HOME"]).glob("test-access/*.jsonl")
        lines = [line for path in logs for line in path.read_text().splitlines()]
        return sum(json.loads(line)["run"].startswith(str(folder)) for line in lines)

    return count


@pytest.fixture
def runner_of(fakes: Path) -> Callable[..., Any]:
    """A runner of ``fake`` with another trainer: ``runner_of(trainer class, *further plugins, **settings)``."""
    from pneumo_cli.plugins.discovery import discover
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner

    def make(trainer: type, *further: object, **settings: object) -> Any:
        plugins = discover()
        quick = {"model": "plain-net", "epochs": 1, "precision": "fp32"}
        resolved = resolve(plugins, plugins.trainers.get("fake"), {**quick, **settings})
        setup = replace(set_up(plugins, resolved), trainer=trainer(resolved.trainer))
        participants = [*plugins.observing(), *(("further", plugin) for plugin in further)]
        return open_runner(setup, participants, command=["pneumo"])

    return make
