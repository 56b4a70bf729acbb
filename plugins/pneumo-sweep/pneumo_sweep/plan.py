"""What a sweep is to do, as its folder records it, and the paths in that folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import recorded_facts, reopen_settings
from pneumo_cli.settings.resolve import Resolved
from pneumo_sweep.space import Space, dimension

SETTINGS = "sweep.toml"
TRIALS, SEEDS = "trials", "seeds"
"""The two stages of a sweep, and their folders."""


class SweepFolder(RunFolder):
    """Paths inside a sweep's folder, such as ``runs/cnn/2026-11-24-a1b2-sweep``.

    Its settings are in ``sweep.toml``, its runs below ``trials`` and ``seeds``, its results in ``sweep.json``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.settings = path / SETTINGS
        self.report_html = path / "sweep.html"
        self.report_json = path / "sweep.json"
        self.workers = path / "workers"
        self.database = path / "study.db"

    def run(self, name: str) -> RunFolder:
        """The folder of one of its runs, such as ``trials/007``."""
        return RunFolder(self.path / name)


def open_folder(path: Path) -> SweepFolder:
    """The folder of an existing sweep.

    Raises:
        UsageError: it is none.
    """
    folder = SweepFolder(path)
    if not folder.settings.is_file():
        inside = next((parent for parent in path.absolute().parents if (parent / SETTINGS).is_file()), None)
        hint = f"; it belongs to the sweep {inside}" if inside else ""
        raise UsageError(f"{path} is no folder of a sweep: it has no {SETTINGS}{hint}")
    return folder


def trial_name(number: int) -> str:
    """The name of a trial's run in the sweep's folder."""
    return f"{TRIALS}/{number:03}"


@dataclass(frozen=True)
class Plan:
    """What a sweep is to do, apart from the settings that all trials share.

    Attributes:
        space: what is tried.
        draws: from the search space, each with all points of the grid; 1 without one.
        seed: of the draws; also that of the trials' runs.
        sampler: ``quasi-random`` or ``tpe``.
        prune: ``median`` or ``hyperband``; empty: no trial is stopped early.
        metric: the validation metric by which trials are compared.
        mode: ``max`` or ``min``.
        with_seeds: the number of further seeds of the best two settings; 0: none.
        reports: whether trials have report pages.
        test: whether the winner is evaluated on the test images.
        storage: the URL of the database, without a password; empty: SQLite in the folder.
        study: the name of its study there.
        command: that started the sweep.
        shown: the words of a command that gives the shared settings, for the winner's command.
    """

    space: Space
    draws: int
    seed: int
    metric: str
    mode: str
    sampler: str = "quasi-random"
    prune: str = ""
    with_seeds: int = 0
    reports: bool = False
    test: bool = True
    storage: str = ""
    study: str = ""
    command: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def trials(self) -> int:
        """The number of trials."""
        return self.draws * self.space.points

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.mode == "max" else -1

    def to_table(self) -> dict[str, Any]:
        """As in ``sweep.toml``, in the table ``[run.sweep]``."""
        return {
            **asdict(self),
            "space": {
                "set": [one.to_table() for one in self.space.grid],
                "search": [one.to_table() for one in self.space.search],
            },
            "command": list(self.command),
            "shown": list(self.shown),
        }


def recorded_plan(folder: SweepFolder) -> Plan:
    """The plan of an existing sweep.

    Raises:
        UsageError: its record is damaged.
    """
    table = recorded_facts(folder.settings).get("sweep")
    try:
        if not isinstance(table, dict):
            raise TypeError("it has no table [run.sweep]")
        grid, search = (tuple(dimension(one) for one in table["space"][name]) for name in ("set", "search"))
        words = {name: tuple(table[name]) for name in ("command", "shown")}
        return Plan(**{**table, "space": Space(grid, search), **words})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder.settings} is damaged: {error}") from None


def run_settings(
    plugins: Plugins, folder: SweepFolder, plan: Plan, tried: Mapping[str, Any], machine: Mapping[str, Any]
) -> Resolved:
    """The settings of one run of a sweep.

    Args:
        tried: settings of its own, by name.
        machine: settings of the machine that carries it out; None: as recorded.

    Raises:
        UsageError: the settings do not fit what is installed.
    """
    own = {"evaluate_test": False, "report": plan.reports}
    resolved = reopen_settings(plugins, folder, {**machine, **tried, **own})
    ours = (tried.keys() | own.keys()) & resolved.origins.keys()
    return replace(resolved, origins={**resolved.origins, **dict.fromkeys(ours, "sweep")})
