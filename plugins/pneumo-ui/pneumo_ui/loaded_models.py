"""The models that images are predicted with: loaded when they are first asked for, the last few kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.runs.folder import MEMBERS, RunFolder
from pneumo_ui.files import check
from pneumo_ui.run_index import Entry

if TYPE_CHECKING:
    from pneumo_cli.workflows.models import Model

_KEPT = 2
_LARGEST = 16 * 2**30  # bytes of a checkpoint
_READ = (
    "run.toml", "group.toml", "report.json", "environment.json", "checkpoints/best.pt", "checkpoints/manifest.json",
)  # fmt: skip
"""Files of a run that loading its model opens."""


class LoadedModels:
    """Models by run. To be used in one thread: images are predicted one after another, on all cores each.

    Args:
        folder: where the runs are.
        load: ``pneumo_cli.load``.
    """

    def __init__(self, folder: Path, load: Callable[..., Any]) -> None:
        self._folder = folder
        self._load = load
        self._models: OrderedDict[tuple[str, int], Model] = OrderedDict()

    def of(self, entry: Entry) -> Model:
        """The model of a run or group.

        Raises:
            PneumoError: there is none, or it is damaged or not to be read.
        """
        key = entry.id, _written(entry)
        if key not in self._models:
            self._check(entry)
            while len(self._models) >= _KEPT:
                self._models.popitem(last=False)
            self._models[key] = self._load(entry.path, progress=False)
        self._models.move_to_end(key)
        return self._models[key]

    def _check(self, entry: Entry) -> None:
        """Raises Refused if a file of the run, or of a group's runs, is not to be read: a pipe would never end."""
        members = [run for name in MEMBERS for run in (entry.path / name).glob("*")] if entry.is_group else []
        for run in (entry.path, *members):
            for name in _READ:
                check(self._folder, run / name, _LARGEST)


def _written(entry: Entry) -> int:
    """Changes with the checkpoint, as of a run that goes on; of a group, when one of its runs changes."""
    try:
        return (RunFolder(entry.path).checkpoints / "best.pt").stat().st_mtime_ns
    except OSError:
        return hash(entry.files)
