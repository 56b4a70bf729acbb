"""``pneumo compare``: tests whether runs differ."""

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
_FILE_SUFFIX = re.compile(r"\.[A-Za-z]{2,5}")  # and not that of a folder such as results-0.5 or trial.v2


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

        comparison = compare_runs(runs, split=split, baseline=baseline)
        if out is not None:
            _write(comparison, out)
        if json:
            from pneumo_compare.tables import plain

            print_json(plain(comparison))
        else:
            _print(comparison)


def check_target(target: Path) -> None:
    """Check, before the comparison, that it may be written to a file or folder.

    Raises:
        UsageError: it exists already, has the suffix of another kind of file, or cannot be written.
    """
    from pneumo_cli.runtime import atomic

    if target.suffix != ".html" and _FILE_SUFFIX.fullmatch(target.suffix) and not target.is_dir():
        raise UsageError(
            f"{target} has the suffix of a file: --out takes a new file that ends in .html, or a folder "
            f"({target.with_suffix('.html')}, {target.with_suffix('')})"
        )
    if target.suffix == ".html":
        if os.path.lexists(target):
            raise UsageError(f"{target} exists already: name another file with --out")
        folder = target.parent
    else:
        if os.path.lexists(target) and not target.is_dir():
            raise UsageError(
                f"{target} exists already and is not a folder: name another one, or a new FILE.html, with --out"
            )
        folder = target
    try:
        if folder is target and target.is_dir() and any(target.iterdir()):
            raise UsageError(f"the folder {target} is not empty: name another one with --out")
        atomic.try_folder(folder)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error


def _write(comparison: Comparison, out: Path) -> None:
    from pneumo_compare.page import write_comparison

    try:
        page = write_comparison(comparison, out)
    except OSError as error:
        raise PneumoError(f"the comparison cannot be written to {out}: {error.strerror}") from error
    print(f"pneumo: the page is {page}", file=sys.stderr)


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
