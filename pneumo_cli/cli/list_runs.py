"""``pneumo list-runs``: the runs below a folder, with their state and results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_columns, print_json, print_text
from pneumo_cli.runtime.streams import is_terminal
from pneumo_cli.runtime.terminal import line_width, print_message

if TYPE_CHECKING:
    from pneumo_cli.runs.index import ListedRun, Problem


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
    """List the runs below a folder, with their results. A group of runs takes one line."""
    if parts:
        print_message("--parts is called --members now")
    from pneumo_cli.workflows.run_list import problem_table, run_row, select

    selection = select(
        folder,
        trainer=trainer,
        model=model,
        dataset=dataset,
        finished=finished,
        where=where or (),
        sort=sort,
        members=members or parts,
    )
    if selection.note:
        print_message(selection.note)
    if json:
        rows = [run_row(run) for run in selection.listed]
        print_json({"runs": rows, "problems": problem_table(selection.problems)})
    else:
        _print_runs(selection.listed, selection.problems)


def _print_runs(runs: list[ListedRun], problems: list[Problem]) -> None:
    from pneumo_cli.workflows.run_list import DROPPED_FIRST, run_columns

    if runs:
        width = line_width(sys.stdout) if is_terminal(sys.stdout) else 0
        print_columns(run_columns(runs, width), DROPPED_FIRST)
    for problem in problems:
        print_text(f"problem: {problem.path}: {problem.reason}")
