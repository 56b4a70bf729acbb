"""``pneumo data audit``: leaks, structure and shift of a dataset and its split, as a page and an exit code."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from pneumo_cli.cli.data_options import (
    CacheFlag,
    DataRootFlag,
    DatasetFlag,
    FractionFlag,
    HomeFlag,
    SplitSeedFlag,
    dataset_entry,
)
from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table, print_text
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_audit.audit import Audit
    from pneumo_cli.data.splits import Policy
    from pneumo_cli.plugins.discovery import Plugins

_TITLE = "<title>Audit of "
"""In the head of every page that an audit wrote."""


def add_commands(app: typer.Typer) -> None:
    """Add ``audit`` to the group ``data``."""
    data = typer.Typer()
    app.add_typer(data, name="data")

    @data.command()
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
        split: Annotated[str, typer.Option("--split", help="patient, source, last or all.")] = "patient",
        validation_fraction: FractionFlag = 0.25,
        split_seed: SplitSeedFlag = 42,
        data_home: HomeFlag = None,
        cache: CacheFlag = None,
        json: JsonFlag = False,
    ) -> None:
        """Access for patients and images on two sides of a split, and for differences between training and test
        images; write a page with the pictures (exit code 1 if anything leaks)."""
        machine = {"data_root": data_root, "data_home": data_home, "cache": cache}
        check_target(out, overwrite=overwrite)
        found = _audit(ctx.obj, dataset, machine, (split, validation_fraction, split_seed))
        _write(found, out)
        if json:
            print_json(found.plain())
        else:
            _print(found)
        print(f"pneumo: the page is {out / 'audit.html'}", file=sys.stderr)
        if not found.clean:
            raise typer.Exit(1)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Find out whether an audit may be written into a folder, before it is made.

    Args:
        target: new, empty, or the folder of an earlier audit; other files beside that one are left alone.
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
                    f"the folder {target} holds other files and no earlier audit: name a new or an empty one with "
                    "--out"
                )
            if not overwrite:
                raise UsageError(
                    f"the folder {target} is not empty: name another one with --out, or replace the audit that is "
                    "in it with --overwrite"
                )
        atomic.try_folder(target)
    except OSError as error:
        raise UsageError(f"the folder {target} cannot be written: {error.strerror}") from error


def _holds_audit(folder: Path) -> bool:
    """Whether the files that an audit would replace are those of an earlier one.

    Raises:
        OSError: one of them cannot be read.
    """
    content, page = folder / "audit.json", folder / "audit.html"
    if not content.is_file() or (os.path.lexists(page) and not page.is_file()):
        return False
    try:
        found = json.loads(content.read_text(encoding="utf-8"))
        title = page.read_text(encoding="utf-8").partition("</title>")[0] if page.exists() else _TITLE
    except ValueError:  # no text, or no JSON
        return False
    return isinstance(found, dict) and {"fingerprint", "leaks", "shift"} <= found.keys() and _TITLE in title


def _audit(
    plugins: Plugins, name: str | None, machine_flags: dict[str, Any], policy: tuple[str, float, int]
) -> Audit:
    from pneumo_cli.data.prepare import prepare
    from pneumo_cli.data.splits import Policy
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.trainers.session import open_dataset

    split, fraction, seed = policy
    if split not in get_args(Policy):
        raise UsageError(f"--split is {', '.join(get_args(Policy))}, not {split!r}")
    chosen = cast("Policy", split)
    entry = dataset_entry(plugins, name)
    machine = resolve_machine(machine_flags)
    progress = for_stderr()
    opened = open_dataset(entry, machine, progress, root_given=machine_flags["data_root"] is not None)

    from pneumo_audit.audit import AUDIT_SIZE, audit

    data = prepare(
        opened,
        size=AUDIT_SIZE,
        policy=chosen,
        fraction=fraction,
        seed=seed,
        cache=machine.cache,
        progress=progress,
        skip_unreadable=True,
    )
    return audit(data, progress)


def _write(found: Audit, out: Path) -> None:
    from pneumo_audit.page import write_audit

    try:
        write_audit(found, out)
    except OSError as error:
        raise PneumoError(f"the audit cannot be written to {out}: {error.strerror}") from error


def _print(found: Audit) -> None:
    from pneumo_audit.audit import shift_sentence, verdict

    data = found.data
    images, patients = len(data.dataset.records), len({record.patient for record in data.dataset.records})
    print(f"{data.dataset.name}: {images:,} images of {patients:,} patients, split by {data.split.policy}\n")
    leaks = [*found.leaks.pairs] + ([found.leaks.left_out] if found.leaks.left_out.leaks else [])
    print_table(
        ["between", "patients", "their images", "identical files", "identical pixels", "altered copies"],
        [
            [
                f"{leak.first} and {leak.second}",
                len(leak.patients),
                leak.images,
                *(leak.count(kind) for kind in ("bytes", "pixels", "near")),
            ]
            for leak in leaks
        ],
    )
    groups = data.overlaps.identical
    strange = sum(len(pairs) for pairs in found.within.values())
    print(
        f"\n{len(groups)} groups of identical files; {strange} pairs of equal images of two patients within a split"
    )
    for blocks in found.blocks:
        print(
            f"{blocks.split} patients of {blocks.title}: {blocks.patients:,} in {blocks.blocks:,} blocks of "
            f"numbers, {blocks.expected:.0f} expected by chance (z = {blocks.z:.1f}): {blocks.verdict}"
        )
    for card in found.shift:
        print(
            f"test against training images of {card.title}: AUC {card.auc:.3f}; random halves "
            f"{min(card.halves):.3f} to {max(card.halves):.3f}"
        )
    if found.shift:
        print_text(shift_sentence(found))
    print()
    for problem in found.problems():
        print_text(f"problem: {problem}")
    print_text(verdict(found))
