"""``pneumo data audit``: leaks, patient order and shift of a dataset and its split, as a page and an exit code."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pneumo_cli.cli.data_options import (
    CacheFlag,
    DataRootFlag,
    DatasetFlag,
    FractionFlag,
    HomeFlag,
    SplitSeedFlag,
    open_chosen,
    takes_dataset_options,
)
from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_audit.audit import Audit
    from pneumo_cli.plugins.discovery import Plugins

_TITLE = "<title>Audit of "
"""In the head of every page that an audit has written."""


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
        json: JsonFlag = False,
        **options: Any,
    ) -> None:
        """Search for patients and images in two splits, and for differences between training and test images.

        Writes a page that shows the images. Exit code 1 if anything leaks."""
        machine = {"data_root": data_root, "data_home": data_home, "cache": cache}
        check_target(out, overwrite=overwrite)
        result = _audit(ctx.obj, dataset, machine, options, (split, validation_fraction, split_seed))
        _write(result, out)
        if json:
            print_json(result.plain())
        else:
            _print(result)
        print(f"pneumo: the page is {out / 'audit.html'}", file=sys.stderr)
        if not result.clean:
            raise typer.Exit(1)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Check, before the audit, that it may be written into a folder.

    Args:
        target: new, empty, or the folder of an earlier audit, whose other files are left alone.
        overwrite: whether an earlier audit may be replaced.

    Raises:
        UsageError: it may not.
    """
    from pneumo_cli.runtime import atomic

    if os.path.lexists(target) and not target.is_dir():
        raise UsageError(f"{target} is not a folder")
    try:
        if target.is_dir() and any(target.iterdir()):
            if not _holds_audit(target):
                raise UsageError(
                    f"the folder {target} holds other files and no earlier audit: name a new or empty one "
                    "with --out"
                )
            if not overwrite:
                raise UsageError(
                    f"the folder {target} is not empty: name another one with --out, or replace its audit with "
                    "--overwrite"
                )
        atomic.try_folder(target)
    except OSError as error:
        raise UsageError(f"the folder {target} cannot be written: {error.strerror}") from error


def _holds_audit(folder: Path) -> bool:
    """Whether the files that an audit would replace are an earlier audit's.

    Raises:
        OSError: one of them cannot be read.
    """
    content, page = folder / "audit.json", folder / "audit.html"
    if not content.is_file() or (os.path.lexists(page) and not page.is_file()):
        return False
    try:
        values = json.loads(content.read_text(encoding="utf-8"))
        title = page.read_text(encoding="utf-8").partition("</title>")[0] if page.exists() else _TITLE
    except ValueError:  # not text, or not JSON
        return False
    return isinstance(values, dict) and {"fingerprint", "leaks", "shift"} <= values.keys() and _TITLE in title


def _audit(
    plugins: Plugins,
    name: str | None,
    machine_flags: dict[str, Any],
    options: dict[str, Any],
    policy: tuple[str, float, int],
) -> Audit:
    from pneumo_cli.data.prepare import SplitRequest, prepare
    from pneumo_cli.data.splits import Policy
    from pneumo_cli.settings.resolve import resolve_machine

    split, fraction, seed = policy
    if split not in get_args(Policy) and not plugins.splits.find(split):
        raise UsageError(
            f"--split is {', '.join([*get_args(Policy), *plugins.splits.names()])}, not {split!r}"
        )
    machine = resolve_machine(machine_flags)
    progress = for_stderr()
    given = machine_flags["data_root"] is not None
    opened = open_chosen(plugins, name, machine, progress, root_given=given, options=options)

    from pneumo_audit.audit import AUDIT_SIZE, audit

    data = prepare(
        opened,
        size=AUDIT_SIZE,
        split=SplitRequest.of(plugins.splits, split, fraction, seed),
        cache=machine.cache,
        progress=progress,
        skip_unreadable=True,
    )
    return audit(data, progress)


def _write(result: Audit, out: Path) -> None:
    from pneumo_audit.page import write_audit

    try:
        write_audit(result, out)
    except OSError as error:
        raise PneumoError(f"the audit cannot be written to {out}: {error.strerror}") from error


def _print(result: Audit) -> None:
    from pneumo_audit.audit import LEAK_HEAD, leak_rows, shift_sentence, verdict

    data = result.data
    images, patients = len(data.dataset.records), len({record.patient for record in data.dataset.records})
    print(f"{data.dataset.name}: {images:,} images of {patients:,} patients, split by {data.split.policy}\n")
    print_table(LEAK_HEAD, leak_rows(result.shown_leaks()))
    groups = len(data.overlaps.identical)
    pairs = sum(map(len, result.within.values()))
    print(
        f"\n{groups} groups of identical files; {pairs} pairs of equal images of two patients within a split"
    )
    for blocks in result.blocks:
        print(
            f"{blocks.split} patients of {blocks.title}: {blocks.patients:,} in {blocks.blocks:,} blocks of "
            f"numbers, {blocks.expected:.0f} expected by chance (z = {blocks.z:.1f}): {blocks.verdict}"
        )
    for card in result.shift:
        print(
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
