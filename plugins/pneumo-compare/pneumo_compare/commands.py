"""``pneumo compare``: whether runs differ."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.errors import PneumoError, UsageError

if TYPE_CHECKING:
    from pneumo_compare.comparison import Comparison

_PANEL = "Runs"
_OF_A_FILE = re.compile(r"\.[A-Za-z]{2,5}")  # and not of a folder such as results-0.5 or trial.v2


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
        if out is not None:
            check_target(out)
        from pneumo_compare.comparison import compare_runs

        found = compare_runs(runs, split=split, baseline=baseline)
        if out is not None:
            _write(found, out)
        if json:
            from pneumo_compare.tables import plain

            print_json(plain(found))
        else:
            _print(found)


def check_target(target: Path) -> None:
    """Find out whether a comparison may be written somewhere, before it is made.

    Raises:
        UsageError: something is there already, its name is that of another kind of file, or it could not be
            written.
    """
    from pneumo_cli.runtime import atomic

    if target.suffix != ".html" and _OF_A_FILE.fullmatch(target.suffix) and not target.is_dir():
        raise UsageError(
            f"{target} ends as a file does: --out takes a new file that ends in .html, or a folder "
            f"({target.with_suffix('.html')}, {target.with_suffix('')})"
        )
    if target.suffix == ".html":
        if os.path.lexists(target):
            raise UsageError(f"{target} exists already: name another file with --out")
        folder = target.parent
    else:
        if os.path.lexists(target) and not target.is_dir():
            raise UsageError(
                f"{target} exists already and is no folder: name another one, or a new FILE.html, with --out"
            )
        folder = target
    try:
        if folder is target and target.is_dir() and any(target.iterdir()):
            raise UsageError(f"the folder {target} is not empty: name another one with --out")
        atomic.try_folder(folder)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error


def _write(found: Comparison, out: Path) -> None:
    from pneumo_compare.page import write_comparison

    try:
        page = write_comparison(found, out)
    except OSError as error:
        raise PneumoError(f"the comparison cannot be written to {out}: {error.strerror}") from error
    print(f"pneumo: the page is {page}", file=sys.stderr)


def _print(found: Comparison) -> None:
    from pneumo_cli.runtime.json_values import value_text
    from pneumo_compare import tables as tables
    from pneumo_compare.wording import cautions, p_clause, pair_sentence

    letters = tables.letters(found.runs)
    print_table(["", "run", "trainer", "model", "seed", "epochs"], tables.run_rows(found))
    images = found.first.images
    of = f", {len(images.names):,} images of {len(set(images.patients)):,} patients" if images else ""
    print(f"\nOn the {found.split} set{of}")
    print_table(["metric", *letters], tables.metric_rows(found))
    for place, pair in found.pairs.items():
        if pair.metrics:
            print(f"\n{found.runs[place].letter} − {found.first.letter}, the same patients")
            print_table(
                ["metric", "difference", "p", "adjusted", "verdict"], tables.difference_table(found, place)
            )
            checks = [] if pair.delong is None else [f"DeLong p {p_clause(pair.delong.p)}"]
            checks += [f"McNemar p {p_clause(pair.calls['accuracy'].p)}"]
            print(f"Image by image: {', '.join(checks)}")
    recipe = [
        (name, *map(value_text, values))
        for name, values, machine in tables.settings_that_differ(found.runs)
        if not machine
    ]
    print()
    if recipe:
        print_table(["set differently", *letters], recipe)
    else:
        print("The recipe is the same, the seed included.")
    print()
    for place in found.pairs:
        print_text(pair_sentence(found, place))
    for caution in cautions(found):
        print_text(f"Keep in mind: {caution}")
