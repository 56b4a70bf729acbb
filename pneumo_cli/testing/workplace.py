"""A working folder for a test, and runs in the test's process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.plugins.discovery import Plugins, discover
from pneumo_cli.registry import Provenance
from pneumo_cli.testing.datasets import CLASSES, LABELS, SMALL, TARGETS, TINY
from pneumo_cli.testing.transfer import NETWORK, PROBE

if TYPE_CHECKING:
    import pytest

    from pneumo_cli.training.runner import Runner


def installed_plugins() -> Plugins:
    """All installed plugins, the suite's datasets, and its network and trainer."""
    plugins = discover()
    suite = Provenance("pneumo-cli-testing", "")
    for spec in (TINY, SMALL, CLASSES, LABELS, TARGETS):
        plugins.datasets.add(spec, suite)
    plugins.models.add(NETWORK, suite)
    plugins.trainers.add(PROBE, suite)
    return plugins


def empty_workplace(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make and enter an empty working folder, isolated from the user's settings, data and runs.

    Args:
        folder: of this test alone; the working folder is made in it.
        cache: of decoded images; tests may share it.
        monkeypatch: undoes everything at the end of the test.
    """
    for name in [name for name in os.environ if name.upper().startswith("PNEUMO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PNEUMO_CACHE", str(cache))
    monkeypatch.setenv("PNEUMO_DATA_HOME", str(folder / "home"))
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def runner_of(trainer: str, *, observed: bool = False, preset: str | None = None, **settings: Any) -> Runner:
    """Set up a run without starting it; the datasets of the suite are registered.

    Args:
        trainer: its registered name.
        observed: with the installed observers (console, files).
        preset: for the settings that are not given; None: the trainer's default preset.
        settings: as flags; ``output`` and ``cache`` are folders.
    """
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner

    plugins = installed_plugins()
    resolved = resolve(plugins, plugins.trainers.get(trainer), settings, preset=preset, environ={})
    setup = set_up(plugins, resolved)
    return open_runner(setup, plugins.observing(), command=["pneumo"]) if observed else open_runner(setup)
