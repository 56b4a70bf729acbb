"""Short runs in the test's process, which may be cut off at any step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.api import hookimpl
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.settings.resolve import Resolved, resolve
from pneumo_cli.specs import TrainerSpec
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import Runner, open_runner


@dataclass(frozen=True)
class Small:
    """The settings of short runs of one trainer.

    Attributes:
        values: by name, the dataset among them.
        folder: for runs and caches.
    """

    plugins: Plugins
    entry: Entry[TrainerSpec]
    values: Mapping[str, Any]
    folder: Path

    def flags(self, place: str = "run", **settings: Any) -> dict[str, Any]:
        """The values, as flags have them, of a run in fp32 on the CPU whose folders are below ``place``."""
        machine = {"device": "cpu", "output": self.folder / place / "runs", "cache": self.folder / "cache"}
        return {"precision": "fp32", **self.values, **machine, **settings}

    def resolved(self, place: str = "run", **settings: Any) -> Resolved:
        """The resolved settings; further ones replace those of the suite."""
        return resolve(self.plugins, self.entry, self.flags(place, **settings), environ={})


class Died(BaseException):
    """Simulates the death of the process; no handler of errors catches it."""


class DiesAt:
    """Ends the run unsaved after a step of an epoch; without a step, after the last checkpoint of the epoch."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self._at = (epoch, step)

    @hookimpl
    def step_finished(self, run: Any) -> None:
        if (run.epoch, run.step) == self._at:
            raise Died

    @hookimpl
    def checkpoint_saved(self, run: Any, path: Path) -> None:
        if path.stem == "last" and (len(run.history) - 1, run.step) == self._at:
            raise Died


def make_runner(plugins: Plugins, resolved: Resolved, *extra: object) -> Runner:
    """A runner that is not started, with the installed observers and further objects."""
    taking_part = [*plugins.observing(), *(("test", one) for one in extra)]
    return open_runner(set_up(plugins, resolved), taking_part, command=["pneumo"])


def run_until(death: DiesAt, plugins: Plugins, resolved: Resolved, *extra: object) -> Runner:
    """Run until it dies; the runner's ``run`` has the model as it was then."""
    runner = make_runner(plugins, resolved, *extra, death)
    with pytest.raises(Died):
        runner.start()
    return runner
