"""The runs below a folder: which, in which order, and as a table."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, SupportsIndex, overload

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.metric_names import interval_text, metric_label, metric_text, sd_text
from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.runs.index import FINISHED, WHOLE, ListedRun, Problem
from pneumo_cli.runs.query import in_sequence, matching, what_sorts, why_none
from pneumo_cli.runtime.home import expanded_path
from pneumo_cli.runtime.json_values import text, value_text
from pneumo_cli.runtime.streams import encodable, printable
from pneumo_cli.workflows.argument_types import checking
from pneumo_cli.workflows.report_view import Card
from pneumo_cli.workflows.results import RunResult
from pneumo_cli.workflows.tables import Table, aligned, fitting

DROPPED_FIRST = ("split", "trainer", "started", "epochs", "dataset", "model", "validation", "state")
"""Columns that are left out in a narrow terminal, in this order: a run's name or ``--json`` says the same."""


@checking
def runs(
    folder: str | os.PathLike[str] | None = None,
    *,
    trainer: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    finished: bool | None = None,
    where: Mapping[str, Any] | Sequence[str] | str = (),
    sort: str = "started",
    members: bool = False,
) -> Runs:
    """The runs in and below a folder, with their results: what ``pneumo list-runs`` lists, in the same order.

    Args:
        folder: where to look; None: the output folder.
        trainer, model, dataset: only runs with this one.
        finished: True: only finished runs, False: only the others.
        where: only runs with these settings: ``{"lr": 0.005}`` or ``["lr=0.005"]``.
        sort: ``started`` (newest first), ``name``, or a metric (best first): by its test value; runs without one
            follow, by their validation value.
        members: also the members of groups.

    Raises:
        UsageError: there is no such folder, setting or metric.
    """
    if isinstance(where, Mapping):
        where = [f"{name}={value_text(value)}" for name, value in where.items()]
    selection = select(
        None if folder is None else expanded_path(folder),
        trainer=trainer,
        model=model,
        dataset=dataset,
        finished=finished,
        where=[where] if isinstance(where, str) else where,
        sort=sort,
        members=members,
    )
    return Runs(selection)


@dataclass(frozen=True)
class Selection:
    """The runs that were asked for, in order.

    Attributes:
        listed: the runs.
        problems: folders that cannot be listed.
        note: why there are none, or what they are sorted by; may be empty.
    """

    listed: list[ListedRun]
    problems: list[Problem]
    note: str = ""


def select(
    folder: Path | None,
    *,
    trainer: str | None,
    model: str | None,
    dataset: str | None,
    finished: bool | None,
    where: Sequence[str],
    sort: str,
    members: bool,
) -> Selection:
    """The runs below a folder that meet all conditions. Arguments and errors are those of :func:`runs`."""
    if folder is None:
        from pneumo_cli.settings.resolve import resolve_machine

        folder = resolve_machine({}).output
        if not folder.exists():
            return Selection([], [], f"there are no runs yet: the output folder {folder} does not exist")
    found, problems = find_runs(folder, members=members)
    listed = matching(found, trainer=trainer, model=model, dataset=dataset, finished=finished, where=where)
    note = what_sorts(listed, sort) if listed else why_none(found, folder, trainer, model, dataset)
    return Selection(in_sequence(listed, sort), problems, note)


class Runs(list[RunResult]):
    """Runs, as :func:`runs` finds them. ``runs[0]`` is a result, ``runs[:3]`` are runs.

    Attributes:
        problems: a row for each folder that cannot be listed: ``path``, ``problem``.
        note: why there are no runs, or what they are sorted by.
    """

    def __init__(self, selection: Selection) -> None:
        self.note = selection.note
        self.problems = problem_table(selection.problems)
        super().__init__()
        for one in selection.listed:
            try:
                self.append(RunResult(one.path, one))
            except PneumoError as error:  # it has been removed meanwhile
                self.problems.append({"path": str(one.path), "problem": text(error)})

    @overload
    def __getitem__(self, key: SupportsIndex) -> RunResult: ...

    @overload
    def __getitem__(self, key: slice) -> Runs: ...

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if isinstance(key, slice):
            return Runs(Selection([_found(one) for one in super().__getitem__(key)], [], self.note))
        return super().__getitem__(key)

    @property
    def table(self) -> Table:
        """A row per run, with numbers: its settings as ``settings``, its most important metric on both splits."""
        return Table(
            {
                **{key: value for key, value in run_row(one).items() if key not in _NESTED},
                "validation": one.value("validation", one.headline),
                "test": one.value("test", one.headline),
            }
            for one in self._listed
        )

    @property
    def _listed(self) -> list[ListedRun]:
        return [_found(one) for one in self]

    def __repr__(self) -> str:
        width = shutil.get_terminal_size().columns
        columns = run_columns(self._listed, width)
        lines = aligned(fitting(columns, DROPPED_FIRST, width), width=width) if self else []
        lines += [self.note] if self.note else [] if lines else ["(no runs)"]
        problems = (printable(f"problem: {row['path']}: {row['problem']}") for row in self.problems)
        return encodable("\n".join([*lines, *problems]))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        problems = [f"{row['path']}: {row['problem']}" for row in self.problems]
        return Card(
            f"{len(self):,} run{'' if len(self) == 1 else 's'}",
            self.note,
            columns=run_columns(self._listed) if self else {},
            remarks={"Problems": problems},
        ).html()


def _found(result: RunResult) -> ListedRun:
    """A run as it was found, also if it has gone on since, or is gone."""
    return result._found or result._listed


_NESTED = ("evaluations", "intervals", "spread", "members", "settings")


def problem_table(problems: Sequence[Problem]) -> Table:
    """Folders that cannot be listed: ``path`` and ``problem``."""
    return Table({"path": str(problem.path), "problem": problem.reason} for problem in problems)


def run_row(run: ListedRun) -> dict[str, Any]:
    """A run as ``pneumo list-runs --json`` prints it."""
    return {
        "run": str(run.path),
        "name": run.name,
        "trainer": run.trainer,
        "model": run.model,
        "dataset": run.dataset,
        "split": run.split,
        "epochs": run.epochs,
        "of": run.of,
        "started": run.started,
        "state": run.state,
        "headline": run.headline,
        "monitor": run.monitor,
        "evaluations": {split: dict(metrics) for split, metrics in run.evaluations.items()},
        "intervals": {split: dict(ends) for split, ends in run.intervals.items()},
        "members": None if run.members is None else asdict(run.members),
        "spread": {split: dict(sds) for split, sds in run.spread.items()},
        "group": None if run.group is None else str(run.group),
        "settings": dict(run.settings),
    }


def run_columns(listed: Sequence[ListedRun], width: int = 0) -> dict[str, list[str]]:
    """The table that ``pneumo list-runs`` prints: title to cells.

    Args:
        width: of the terminal, in which states may have no column: they then stand where test results are missing.
    """
    columns = {
        "run": [printable(run.name) for run in listed],
        "trainer": [run.trainer for run in listed],
        "model": [run.model for run in listed],
        "dataset": [run.dataset for run in listed],
        "split": [run.split for run in listed],
        "epochs": [f"{run.epochs}/{run.of}" for run in listed],
        "started": [run.started[:16].replace("T", " ") for run in listed],
        "state": [_state(run) for run in listed],
        "metric": [metric_label(run.headline, run.task).label if run.headline else "–" for run in listed],
        "validation": [metric_cell(run, "validation", run.headline) for run in listed],
        "test": [metric_cell(run, "test", run.headline) for run in listed],
    }
    if width and "state" not in fitting(columns, DROPPED_FIRST, width):
        cells = zip(listed, columns["test"], strict=True)
        columns["test"] = [
            run.state if test == "–" and run.state != FINISHED else test for run, test in cells
        ]
    return columns


def metric_cell(run: ListedRun, split: str, name: str) -> str:
    """A metric on a split, with its 95 % interval or, of a group, its standard deviation."""
    value = run.value(split, name)
    if value is None:
        return "–"
    text = metric_text(name, value)
    if interval := interval_text(name, run.intervals.get(split, {}).get(name)):
        return f"{text} ({interval})"
    sd = run.spread.get(split, {}).get(name)
    if sd is None and split == "test" and name not in run.evaluations.get(split, {}):
        sd = run.spread.get(WHOLE, {}).get(name)
    return text if sd is None else f"{text} ± {sd_text(name, sd)}"


def _state(run: ListedRun) -> str:
    """Such as ``finished``; of a group ``finished, 5 folds``, or ``interrupted, 3 of 5 folds``."""
    group = run.members
    if group is None:
        return run.state
    done = f"{group.finished} of {group.kind}" if group.finished < group.wanted else group.kind
    return f"{run.state}, {done}"
