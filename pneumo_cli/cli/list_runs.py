"""``pneumo list-runs``: which runs there are."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pneumo_cli.runs.index import ListedRun, Problem

_LESS_WANTED = ("split", "trainer", "started", "epochs", "dataset", "model", "validation", "state")
"""Columns of the list of runs that a narrow terminal does without, the first ones first."""


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command("list-runs", rich_help_panel="Runs")
    def list_runs(
        folder: Annotated[
            Path | None,
            typer.Argument(help="Where to look, subfolders included.", show_default="the output folder"),
        ] = None,
        trainer: Annotated[str | None, typer.Option("--trainer", help="Only runs of this trainer.")] = None,
        model: Annotated[str | None, typer.Option("--model", help="Only runs of this model.")] = None,
        dataset: Annotated[str | None, typer.Option("--dataset", help="Only runs on this dataset.")] = None,
        finished: Annotated[
            bool | None, typer.Option("--finished/--unfinished", help="Only runs with, or without, a result.")
        ] = None,
        where: Annotated[
            list[str] | None,
            typer.Option(
                "--where", metavar="SETTING=VALUE", help="Only runs with this setting; may be repeated."
            ),
        ] = None,
        sort: Annotated[
            str,
            typer.Option(
                "--sort",
                help="started, name, or a metric: by its test value the best first, then, of runs without one, by "
                "its validation value.",
            ),
        ] = "started",
        members: Annotated[
            bool,
            typer.Option("--members", help="List the runs of groups (--folds, --seeds), too."),
        ] = False,
        parts: Annotated[bool, typer.Option("--parts", hidden=True)] = False,
        json: JsonFlag = False,
    ) -> None:
        """List the runs below a folder, with their state and results; a group of runs is one line."""
        if parts:
            print("pneumo: --parts is called --members now", file=sys.stderr)
        from pneumo_cli.runs.group_index import find_runs
        from pneumo_cli.runs.query import in_sequence, matching, what_sorts, why_none

        if folder is None:
            from pneumo_cli.settings.resolve import resolve_machine

            folder = resolve_machine({}).output
            if not folder.exists():
                print(
                    f"pneumo: there are no runs yet: the output folder {folder} does not exist",
                    file=sys.stderr,
                )
                if json:
                    print_json({"runs": [], "problems": []})
                return
        runs, problems = find_runs(folder, members=members or parts)
        listed = matching(
            runs, trainer=trainer, model=model, dataset=dataset, finished=finished, where=where or ()
        )
        if not listed:
            print(f"pneumo: {why_none(runs, folder, trainer, model, dataset)}", file=sys.stderr)
        elif said := what_sorts(listed, sort):
            print(f"pneumo: {said}", file=sys.stderr)
        if listed or problems or json:
            _show(in_sequence(listed, sort), problems, json)


def _show(runs: list[ListedRun], problems: list[Problem], as_json: bool) -> None:
    from pneumo_cli.evaluation.metric_names import interval_text, metric_label, metric_text

    if as_json:
        print_json(
            {
                "runs": [_plain(run) for run in runs],
                "problems": [{"path": str(problem.path), "problem": problem.reason} for problem in problems],
            }
        )
        return

    def cell(run: ListedRun, split: str) -> str:
        name = run.headline
        value = run.value(split, name)
        if value is None:
            return "–"
        between = interval_text(name, run.intervals.get(split, {}).get(name))
        return metric_text(name, value) + (f" ({between})" if between else _spread(run, split, name))

    columns = {
        "run": [run.name for run in runs],
        "trainer": [run.trainer for run in runs],
        "model": [run.model for run in runs],
        "dataset": [run.dataset for run in runs],
        "split": [run.split for run in runs],
        "epochs": [f"{run.epochs}/{run.of}" for run in runs],
        "started": [run.started[:16].replace("T", " ") for run in runs],
        "state": [_state(run) for run in runs],
        "metric": [metric_label(run.headline).label if run.headline else "–" for run in runs],
        "validation": [cell(run, "validation") for run in runs],
        "test": [cell(run, "test") for run in runs],
    }
    if runs:
        shown = _fitting(columns)
        print_table(list(shown), list(zip(*shown.values(), strict=True)))
    for problem in problems:
        print(f"problem: {problem.path}: {problem.reason}")


def _fitting(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """The columns that a terminal has room for; all of them where nobody looks.

    A row that is broken over lines is no row. What goes first is what a run's name says too, or ``--json``.
    """
    if not sys.stdout.isatty():
        return columns
    shown = dict(columns)
    room = shutil.get_terminal_size().columns
    for name in _LESS_WANTED:
        if sum(2 + max(len(name), *map(len, cells), 0) for name, cells in shown.items()) - 2 <= room:
            break
        del shown[name]
    return shown


def _state(run: ListedRun) -> str:
    """Such as ``finished``; of a group ``finished, 5 folds``, or ``interrupted, 3 of 5 folds``."""
    parts = run.members
    if parts is None:
        return run.state
    several = f"{parts.finished} of {parts.kind}" if parts.finished < parts.wanted else parts.kind
    return f"{run.state}, {several}"


def _spread(run: ListedRun, split: str, name: str) -> str:
    """The standard deviation over a group's parts, where its value is their mean."""
    from pneumo_cli.evaluation.metric_names import sd_text
    from pneumo_cli.runs.index import WHOLE

    known = run.spread.get(split, {}).get(name)
    if known is None and split == "test" and name not in run.evaluations.get(split, {}):
        known = run.spread.get(WHOLE, {}).get(name)
    return "" if known is None else f" ± {sd_text(name, known)}"


def _plain(run: ListedRun) -> dict[str, Any]:
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
        "evaluations": {split: dict(metrics) for split, metrics in run.evaluations.items()},
        "intervals": {split: dict(ends) for split, ends in run.intervals.items()},
        "members": None if run.members is None else asdict(run.members),
        "spread": {split: dict(sds) for split, sds in run.spread.items()},
        "group": None if run.group is None else str(run.group),
        "settings": dict(run.settings),
    }
