"""``pneumo list-runs``: the runs below a folder, with their state and results."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_columns, print_json

if TYPE_CHECKING:
    from pneumo_cli.runs.index import ListedRun, Problem

_DROPPED_FIRST = ("split", "trainer", "started", "epochs", "dataset", "model", "validation", "state")
"""Columns that are left out in a narrow terminal, in this order: a run's name or ``--json`` says the same."""


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel="Runs")(list_runs)


def list_runs(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="Where to look, subfolders included.", show_default="the output folder"
        ),
    ] = None,
    trainer: Annotated[str | None, typer.Option("--trainer", help="Only runs of this trainer.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only runs of this model.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only runs on this dataset.")] = None,
    finished: Annotated[
        bool | None, typer.Option("--finished/--unfinished", help="Only finished, or unfinished, runs.")
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
            help="started (newest first), name, or a metric (best first): by its test value; runs without one "
            "follow, by their validation value.",
        ),
    ] = "started",
    members: Annotated[
        bool, typer.Option("--members", help="Also list the members of groups (--folds, --seeds).")
    ] = False,
    parts: Annotated[bool, typer.Option("--parts", hidden=True)] = False,
    json: JsonFlag = False,
) -> None:
    """List the runs below a folder, with their state and results; a group of runs takes one line."""
    if parts:
        print("pneumo: --parts is called --members now", file=sys.stderr)
    from pneumo_cli.runs.group_index import find_runs
    from pneumo_cli.runs.query import in_sequence, matching, what_sorts, why_none

    if folder is None:
        from pneumo_cli.settings.resolve import resolve_machine

        folder = resolve_machine({}).output
        if not folder.exists():
            print(
                f"pneumo: there are no runs yet: the output folder {folder} does not exist", file=sys.stderr
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
    elif note := what_sorts(listed, sort):
        print(f"pneumo: {note}", file=sys.stderr)
    listed = in_sequence(listed, sort)
    if json:
        print_json(
            {
                "runs": [_plain(run) for run in listed],
                "problems": [{"path": str(problem.path), "problem": problem.reason} for problem in problems],
            }
        )
    elif listed or problems:
        _print_runs(listed, problems)


def _print_runs(runs: list[ListedRun], problems: list[Problem]) -> None:
    from pneumo_cli.evaluation.metric_names import metric_label

    columns = {
        "run": [run.name for run in runs],
        "trainer": [run.trainer for run in runs],
        "model": [run.model for run in runs],
        "dataset": [run.dataset for run in runs],
        "split": [run.split for run in runs],
        "epochs": [f"{run.epochs}/{run.of}" for run in runs],
        "started": [run.started[:16].replace("T", " ") for run in runs],
        "state": [_state(run) for run in runs],
        "metric": [metric_label(run.headline, run.task).label if run.headline else "–" for run in runs],
        "validation": [_headline_cell(run, "validation") for run in runs],
        "test": [_headline_cell(run, "test") for run in runs],
    }
    if runs:
        print_columns(columns, _DROPPED_FIRST)
    for problem in problems:
        print(f"problem: {problem.path}: {problem.reason}")


def _headline_cell(run: ListedRun, split: str) -> str:
    """The headline metric on a split, with its 95 % interval or, of a group, its standard deviation."""
    from pneumo_cli.evaluation.metric_names import interval_text, metric_text, sd_text
    from pneumo_cli.runs.index import WHOLE

    name = run.headline
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
        "monitor": run.monitor,
        "evaluations": {split: dict(metrics) for split, metrics in run.evaluations.items()},
        "intervals": {split: dict(ends) for split, ends in run.intervals.items()},
        "members": None if run.members is None else asdict(run.members),
        "spread": {split: dict(sds) for split, sds in run.spread.items()},
        "group": None if run.group is None else str(run.group),
        "settings": dict(run.settings),
    }
