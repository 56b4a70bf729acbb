"""A place for a test to work in, and runs inside the test's process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.testing.datasets import installed_plugins

if TYPE_CHECKING:
    import pytest

    from pneumo_cli.training.runner import Runner


def empty_workplace(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty working folder below ``folder``, apart from the user's settings, data and runs, and enter it.

    Args:
        folder: of this test alone.
        cache: where decoded images are kept; tests may share it.
        monkeypatch: takes everything back at the test's end.
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
    """Open a run with everything but its start; the datasets of the suite are registered.

    Args:
        trainer: its registered name.
        observed: let the installed observers (console, files) watch it.
        preset: of the settings that are not given; None: the trainer's defaults.
        settings: as flags would give them; ``output`` and ``cache`` are folders.
    """
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up
    from pneumo_cli.training.runner import open_runner

    plugins = installed_plugins()
    resolved = resolve(plugins, plugins.trainers.get(trainer), settings, preset=preset, environ={})
    setup = set_up(plugins, resolved)
    return open_runner(setup, plugins.observing(), command=["pneumo"]) if observed else open_runner(setup)
