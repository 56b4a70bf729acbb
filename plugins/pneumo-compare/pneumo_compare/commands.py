"""``pneumo compare``: tests whether runs differ."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_columns, print_json, print_line, print_table, print_text
from pneumo_cli.runtime.streams import is_terminal
from pneumo_cli.runtime.terminal import display_width, line_width, print_message

if TYPE_CHECKING:
    from pneumo_compare.comparison import Comparison

_PANEL = "Runs"


def add_commands(app: typer.Typer) -> None:
    """Add the command to the program."""

    @app.command(rich_help_panel=_PANEL)
    def compare(
        runs: Annotated[
            list[Path],
            typer.Argument(metavar="RUN", help="Folders of finished runs or groups.", show_default=False),
        ],
        split: Annotated[
            str, typer.Option("--split", help="Images to compare on: test or validation.")
        ] = "test",
        baseline: Annotated[
            Path | None,
            typer.Option(
                "--baseline",
                metavar="RUN",
                help="Run that the others are compared with.",
                show_default="all pairs are compared",
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(
                "--out",
                metavar="DIR|FILE.html",
                help="Write the page, with figures, to a new file or into a new folder.",
                show_default=False,
            ),
        ] = None,
        json: JsonFlag = False,
    ) -> None:
        """Compare runs on the same images, with paired intervals and tests."""
        from pneumo_compare.functions import compared

        result = compared(runs, split, baseline, out)
        if result.written is not None:
            print_message(f"the page is {result.written}")
        if json:
            print_json(result.content)
        else:
            _print(result.comparison)


def _print(comparison: Comparison) -> None:
    from pneumo_cli.evaluation.confidence.paired import p_clause
    from pneumo_cli.runtime.json_values import value_text
    from pneumo_compare import tables
    from pneumo_compare.settings import settings_that_differ
    from pneumo_compare.wording import cautions, pair_sentence, side_by_side

    letters = tables.letters(comparison.runs)
    heads = ("", "run", "folder", "model", "seed", "epochs")
    columns = dict(zip(heads, zip(*tables.run_rows(comparison), strict=True), strict=True))
    print_columns(columns, ("seed", "epochs", "model"))
    images = comparison.first.images
    of = f", {len(images.names):,} images of {len(set(images.patients)):,} patients" if images else ""
    print()
    print_text(f"On the {comparison.split} set{of}")
    if pairs := tables.pair_rows(comparison):
        print_table(
            [tables.primary_title(comparison), "difference", "p", "adjusted", "result"], list(pairs.values())
        )
        if (tests := comparison.tests["primary"]) > 1:
            print_text(f"Adjusted for {tests} tests (Holm).")
        print()
    _print_fitting(
        ["metric", *letters], tables.metric_rows(comparison), tables.metric_rows(comparison, intervals=False)
    )
    if whole := tables.whole_rows(comparison):
        print()
        _print_fitting(["whole set of images", *letters], whole)
    if untested := side_by_side(comparison):
        print()
        print_text(untested)
    for places, pair in comparison.pairs.items():
        first, second = comparison.of(places)
        if pair.metrics and len(comparison.pairs) == 1:
            print()
            print_text(f"{second.letter} − {first.letter}, the same patients")
            rows = tables.better_rows(comparison, places)
            titles = ("metric", "difference", "p", "adjusted", "better")
            print_columns(dict(zip(titles, zip(*rows, strict=True), strict=True)), ("p",))
            if pair.classes:
                print()
                print_table(tables.class_head(comparison, places), tables.class_table(comparison, places))
            checks = [] if pair.delong is None else [f"DeLong p {p_clause(pair.delong.p)}"]
            checks += [f"McNemar p {p_clause(pair.calls['accuracy'].p)}"] if "accuracy" in pair.calls else []
            if checks:
                print_text(f"Image by image: {', '.join(checks)}")
    recipe = [
        (name, *map(value_text, values))
        for name, values, machine in settings_that_differ([run.report for run in comparison.runs])
        if not machine
    ]
    print()
    if recipe:
        _print_fitting(["different settings", *letters], recipe)
    else:
        print("The recipe is the same, including the seed.")
    print()
    for places in comparison.pairs:
        print_text(pair_sentence(comparison, places))
    for caution in cautions(comparison):
        print_text(f"Caveat: {caution}")


def _print_fitting(
    head: Sequence[str], rows: Sequence[Sequence[str]], shorter: Sequence[Sequence[str]] | None = None
) -> None:
    """Print a table of all runs: the shorter one, if a terminal has not room for the other; else line by line."""
    for table in (rows, shorter or rows):
        width = sum(max(map(display_width, column)) + 2 for column in zip(head, *table, strict=True)) - 2
        if not is_terminal(sys.stdout) or width <= line_width(sys.stdout):
            print_table(head, table)
            return
    print_line(head[0].upper())
    for name, *values in shorter or rows:
        print_text(
            f"{name}: {', '.join(f'{one} {value}' for one, value in zip(head[1:], values, strict=True))}"
        )
