"""``pneumo compare``: tests whether runs differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table, print_text

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
                show_default="the first one",
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
            print(f"pneumo: the page is {result.written}", file=sys.stderr)
        if json:
            print_json(result.content)
        else:
            _print(result.comparison)


def _print(comparison: Comparison) -> None:
    from pneumo_cli.runtime.json_values import value_text
    from pneumo_compare import tables
    from pneumo_compare.wording import cautions, p_clause, pair_sentence, side_by_side

    letters = tables.letters(comparison.runs)
    print_table(["", "run", "trainer", "model", "seed", "epochs"], tables.run_rows(comparison))
    images = comparison.first.images
    of = f", {len(images.names):,} images of {len(set(images.patients)):,} patients" if images else ""
    print(f"\nOn the {comparison.split} set{of}")
    print_table(["metric", *letters], tables.metric_rows(comparison))
    if untested := side_by_side(comparison):
        print(f"\n{untested}")
    for place, pair in comparison.pairs.items():
        if pair.metrics:
            print(f"\n{comparison.runs[place].letter} − {comparison.first.letter}, the same patients")
            rows = tables.difference_table(comparison, place)
            print_table(["metric", "difference", "p", "adjusted", "result"], rows)
            if pair.classes:
                print()
                print_table(tables.class_head(comparison, place), tables.class_table(comparison, place))
            checks = [] if pair.delong is None else [f"DeLong p {p_clause(pair.delong.p)}"]
            checks += [f"McNemar p {p_clause(pair.calls['accuracy'].p)}"] if "accuracy" in pair.calls else []
            if checks:
                print(f"Image by image: {', '.join(checks)}")
    recipe = [
        (name, *map(value_text, values))
        for name, values, machine in tables.settings_that_differ(comparison.runs)
        if not machine
    ]
    print()
    if recipe:
        print_table(["different settings", *letters], recipe)
    else:
        print("The recipe is the same, including the seed.")
    print()
    for place in comparison.pairs:
        print_text(pair_sentence(comparison, place))
    for caution in cautions(comparison):
        print_text(f"Caveat: {caution}")
