"""``pneumo data``: check, import and download datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pneumo_cli.cli.data_findings import findings_of, print_findings
from pneumo_cli.cli.data_options import (
    CacheFlag,
    DataRootFlag,
    DatasetFlag,
    FractionFlag,
    HomeFlag,
    SplitSeedFlag,
    takes_dataset_options,
)
from pneumo_cli.cli.lazy import LazyGroup
from pneumo_cli.cli.options import JsonFlag, ThreadsFlag
from pneumo_cli.cli.output import print_json, print_line
from pneumo_cli.errors import DataError, PneumoError, UsageError
from pneumo_cli.runtime.progress import for_stderr
from pneumo_cli.runtime.terminal import print_message
from pneumo_cli.workflows.datasets import dataset_entry, open_chosen

_SPLITS = "patient|source|given"
_CHECK_SIZE = 64  # pixels; decoding at this size is quick and finds every damaged file


def add_commands(app: typer.Typer) -> None:
    """Add the group ``data`` to the program."""
    data = typer.Typer(
        cls=LazyGroup,
        rich_markup_mode=None,
        no_args_is_help=True,
        help="Check, import and download datasets.",
    )
    app.add_typer(data, name="data", rich_help_panel="Data")
    data.command()(check)
    data.command("import")(import_)
    data.command()(download)


@takes_dataset_options
def check(
    ctx: typer.Context,
    dataset: DatasetFlag = None,
    data_root: DataRootFlag = None,
    split: Annotated[
        str,
        typer.Option(
            "--split", metavar=_SPLITS, help="How to divide the training pool; or a plugin's split."
        ),
    ] = "patient",
    validation_fraction: FractionFlag = 0.25,
    split_seed: SplitSeedFlag = 42,
    data_home: HomeFlag = None,
    cache: CacheFlag = None,
    threads: ThreadsFlag = None,
    no_decode: Annotated[
        bool,
        typer.Option(
            "--no-decode", help="Do not decode the images: count, split and compare the files only."
        ),
    ] = False,
    json: JsonFlag = False,
    **options: Any,
) -> None:
    """Count classes and patients; find leaks and unreadable images.

    Also label conflicts, identical and unused files. Exit code 1 on problems."""
    from pneumo_cli.data.examination import examine, examined
    from pneumo_cli.data.prepare import SplitRequest, prepare
    from pneumo_cli.runtime.threads import limit_threads
    from pneumo_cli.settings.resolve import resolve_machine

    splits = ctx.obj.splits
    if split not in _SPLITS.split("|") and not splits.find(split):
        names = ", ".join([*_SPLITS.split("|"), *splits.names()])
        raise UsageError(f"--split is {names}, not {split!r}")
    machine = resolve_machine(
        {"data_root": data_root, "data_home": data_home, "cache": cache, "threads": threads}
    )
    limit_threads(machine.threads)
    progress = for_stderr()
    opened = open_chosen(
        ctx.obj, dataset, machine, progress, root_given=data_root is not None, options=options
    )
    request = SplitRequest.of(splits, split, validation_fraction, split_seed)
    if no_decode:
        found = examine(opened, request)
    else:
        found = examined(
            prepare(
                opened,
                size=_CHECK_SIZE,
                split=request,
                cache=machine.cache,
                progress=progress,
                skip_unreadable=True,
            )
        )
    findings = findings_of(found)
    if json:
        print_json(findings)
    else:
        print_findings(findings)
    if findings["problems"]:
        raise typer.Exit(1)


@takes_dataset_options
def import_(
    ctx: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Folder or zip archive in the dataset's layout.", show_default=False
        ),
    ],
    dataset: DatasetFlag = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Read the images where they are; copy nothing.")
    ] = False,
    data_home: HomeFlag = None,
    cache: CacheFlag = None,
    **options: Any,
) -> None:
    """Check a dataset, and copy or unpack it into pneumo's data folder.

    Its location is remembered."""
    from pneumo_cli.data.imports import import_data
    from pneumo_cli.runtime.plugin_errors import plugin_errors
    from pneumo_cli.settings.resolve import resolve_machine, resolve_options

    machine = resolve_machine({"data_home": data_home, "cache": cache})
    entry = dataset_entry(ctx.obj, dataset, machine, path)
    spec = entry.spec
    chosen = dict(resolve_options(ctx.obj, entry, options))
    what = f"the dataset {spec.name} ({entry.provenance}) cannot be imported"
    with plugin_errors(what, passing=(PneumoError, OSError), kind=DataError):
        root = import_data(
            spec,
            path,
            machine.data_home,
            copy=not in_place,
            cache=machine.cache,
            progress=for_stderr(),
            options=chosen,
        )
    _print_root(root, spec.name)


def download(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered dataset.", show_default=False)],
    data_home: HomeFlag = None,
    cache: CacheFlag = None,
) -> None:
    """Download a dataset from where its authors publish it.

    Its location is remembered."""
    from pneumo_cli.data.imports import remember
    from pneumo_cli.runtime.plugin_errors import plugin_errors
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.specs import load_reference

    entry = ctx.obj.datasets.get(name)
    spec = entry.spec
    if not spec.download:
        why = spec.instructions or ("" if spec.needs_root else "it needs no download")
        raise UsageError(f"the dataset {spec.name} cannot be downloaded by pneumo: {why}")
    machine = resolve_machine({"data_home": data_home, "cache": cache})
    what = f"the dataset {spec.name} ({entry.provenance}) cannot be downloaded: {spec.download}"
    with plugin_errors(what, passing=(PneumoError, OSError)):
        root = load_reference(spec.download)(machine.data_home / spec.name, for_stderr())
    if not isinstance(root, Path):
        raise UsageError(f"{what} returned {type(root).__name__}, not the Path of its images")
    remember(machine.data_home, spec.name, root)
    _print_root(root, spec.name)


def _print_root(root: Path, name: str) -> None:
    print_line(root)
    print_message(
        f"location remembered; next: pneumo data check --dataset {name}, or pneumo run cnn --dataset {name}"
    )
