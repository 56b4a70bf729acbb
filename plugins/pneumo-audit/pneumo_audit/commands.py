"""``pneumo data audit``: leaks, patient order and shift of a dataset and its split, as a page and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumo_cli.cli.data_options import (
    CacheFlag,
    DataRootFlag,
    DatasetFlag,
    FractionFlag,
    HomeFlag,
    SplitSeedFlag,
    takes_dataset_options,
)
from pneumo_cli.cli.options import JsonFlag, ThreadsFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.terminal import print_message

if TYPE_CHECKING:
    from pneumo_audit.audit import Audit


def add_commands(app: typer.Typer) -> None:
    """Add ``audit`` to the group ``data``."""
    data = typer.Typer()
    app.add_typer(data, name="data")

    @data.command()
    @takes_dataset_options
    def audit(
        ctx: typer.Context,
        out: Annotated[
            Path, typer.Option("--out", help="Folder for audit.html and audit.json; new or empty.")
        ] = Path("audit"),
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace the audit that is in the folder.")
        ] = False,
        dataset: DatasetFlag = None,
        data_root: DataRootFlag = None,
        split: Annotated[
            str, typer.Option("--split", help="patient, given, source, last, all, or a plugin's.")
        ] = "patient",
        validation_fraction: FractionFlag = 0.25,
        split_seed: SplitSeedFlag = 42,
        data_home: HomeFlag = None,
        cache: CacheFlag = None,
        threads: ThreadsFlag = None,
        json: JsonFlag = False,
        **options: Any,
    ) -> None:
        """Search for leaks, and for shift between training and test images.

        Writes a page that shows the images. Exit code 1 if anything leaks."""
        from pneumo_audit.functions import audited
        from pneumo_cli.workflows.caller import Caller

        machine = {"data_root": data_root, "data_home": data_home, "cache": cache, "threads": threads}
        caller = Caller(ctx.obj, progress=for_stderr())
        policy = (split, validation_fraction, split_seed)
        result = audited(caller, dataset, machine, options, policy, out, overwrite=overwrite)
        if json:
            print_json(result.content)
        else:
            _print(result.audit)
        print_message(f"the page is {result.written}")
        if not result.clean:
            raise typer.Exit(1)


def _print(result: Audit) -> None:
    from pneumo_audit.audit import LEAK_HEAD, leak_rows, shift_sentence, verdict

    data = result.data
    images, patients = len(data.dataset.records), len({record.patient for record in data.dataset.records})
    print_text(
        f"{data.dataset.name}: {images:,} images of {patients:,} patients, split by {data.split.policy}"
    )
    print()
    print_table(LEAK_HEAD, leak_rows(result.shown_leaks()))
    groups = len(data.overlaps.identical)
    pairs = sum(map(len, result.within.values()))
    print()
    print_text(
        f"{groups} groups of identical files; {pairs} pairs of equal images of two patients within a split"
    )
    for blocks in result.blocks:
        print_text(
            f"{blocks.split} patients of {blocks.title}: {blocks.patients:,} in {blocks.blocks:,} blocks of "
            f"numbers, {blocks.expected:.0f} expected by chance (z = {blocks.z:.1f}): {blocks.verdict}"
        )
    for card in result.shift:
        print_text(
            f"test against training images of {card.title}: AUC {card.auc:.3f}; random halves "
            f"{min(card.halves):.3f} to {max(card.halves):.3f}"
        )
    if result.shift:
        print_text(shift_sentence(result))
    print()
    for problem in result.problems():
        print_text(f"problem: {problem}")
    for shortcut in result.shortcuts():
        print_text(f"problem: {shortcut}")
    print_text(verdict(result))
