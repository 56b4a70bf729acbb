"""``pneumo data``: check, import and download datasets."""

from __future__ import annotations

import sys
from dataclasses import asdict
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
    dataset_entry,
)
from pneumo_cli.cli.lazy import LazyGroup
from pneumo_cli.cli.options import JsonFlag
from pneumo_cli.cli.output import print_json, print_table
from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.data.prepare import PreparedData

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


def check(
    ctx: typer.Context,
    dataset: DatasetFlag = None,
    data_root: DataRootFlag = None,
    split: Annotated[
        str, typer.Option("--split", metavar="patient|source", help="How to divide the training pool.")
    ] = "patient",
    validation_fraction: FractionFlag = 0.25,
    split_seed: SplitSeedFlag = 42,
    data_home: HomeFlag = None,
    cache: CacheFlag = None,
    json: JsonFlag = False,
) -> None:
    """Count classes and patients; find identical files, leaks and unreadable images (exit code 1)."""
    from pneumo_cli.data.prepare import SplitRequest, prepare
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.trainers.session import open_dataset

    if split not in ("patient", "source"):
        raise UsageError(f"--split is patient or source, not {split!r}")
    entry = dataset_entry(ctx.obj, dataset)
    machine = resolve_machine({"data_root": data_root, "data_home": data_home, "cache": cache})
    progress = for_stderr()
    data = prepare(
        open_dataset(entry, machine, progress, root_given=data_root is not None),
        size=_CHECK_SIZE,
        split=SplitRequest("patient" if split == "patient" else "source", validation_fraction, split_seed),
        cache=machine.cache,
        progress=progress,
        skip_unreadable=True,
    )
    findings = _findings(data)
    if json:
        print_json(findings)
    else:
        _print_findings(findings)
    if findings["problems"]:
        raise typer.Exit(1)


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
) -> None:
    """Check a dataset, copy or unpack it into pneumo's data folder, and remember its location."""
    from pneumo_cli.data.imports import import_data
    from pneumo_cli.settings.resolve import resolve_machine

    spec = dataset_entry(ctx.obj, dataset).spec
    machine = resolve_machine({"data_home": data_home, "cache": cache})
    root = import_data(
        spec, path, machine.data_home, copy=not in_place, cache=machine.cache, progress=for_stderr()
    )
    _print_root(root, spec.name)


def download(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered dataset.", show_default=False)],
    data_home: HomeFlag = None,
    cache: CacheFlag = None,
) -> None:
    """Download a dataset from where its authors publish it, and remember its location."""
    from pneumo_cli.data.imports import remember
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.specs import load_reference

    spec = ctx.obj.datasets.get(name).spec
    if not spec.download:
        why = spec.instructions or ("" if spec.needs_root else "it needs no download")
        raise UsageError(f"the dataset {spec.name} cannot be downloaded by pneumo: {why}")
    machine = resolve_machine({"data_home": data_home, "cache": cache})
    root = load_reference(spec.download)(machine.data_home / spec.name, for_stderr())
    remember(machine.data_home, spec.name, root)
    _print_root(root, spec.name)


def _print_root(root: Path, name: str) -> None:
    print(root)
    print(
        f"pneumo: location remembered; next: pneumo data check --dataset {name}, or pneumo run cnn --dataset "
        f"{name}",
        file=sys.stderr,
    )


def _findings(data: PreparedData) -> dict[str, Any]:
    records, excluded, unreadable = data.dataset.records, len(data.split.excluded), data.unreadable
    problems = [
        f"{pair.first} and {pair.second} share {pair.patients} patients ({pair.images} images of {pair.second}) "
        f"and {pair.identical} identical images"
        for pair in data.overlaps.pairs
        if pair.leaks
    ]
    if excluded:
        problems.append(
            f"{excluded} images of the training pool show a patient of the test pool, or are identical to one of "
            "its images (the split 'patient' leaves them out)"
        )
    if unreadable:
        problems.append(
            "1 image cannot be read" if len(unreadable) == 1 else f"{len(unreadable)} images cannot be read"
        )
    return {
        "dataset": data.dataset.name,
        "place": data.dataset.place,
        "origin": data.dataset.origin,
        "synthetic": data.dataset.synthetic,
        "fingerprint": data.fingerprint,
        "images": len(records),
        "patients": len({record.patient for record in records}),
        "split": data.split.policy,
        "splits": [asdict(row) for row in data.table()],
        "identical": [asdict(group) for group in data.overlaps.identical],
        "shared": [
            {
                "between": [pair.first, pair.second],
                "patients": pair.patients,
                "images": pair.images,
                "identical": pair.identical,
            }
            for pair in data.overlaps.pairs
        ],
        "excluded": excluded,
        "unreadable": [{"name": name, "reason": reason} for name, reason in unreadable],
        "problems": problems,
    }


def _print_findings(findings: dict[str, Any]) -> None:
    print("{dataset}: {images:,} images of {patients:,} patients in {place}\n{origin}\n".format(**findings))
    classes = list(findings["splits"][0]["counts"])
    first, second = [*classes, "", ""][:2]
    print_table(
        ["split", *classes, "images", "patients", f"{second} : {first}"],
        [
            [
                row["split"],
                *(f"{row['counts'][name]:,}" for name in classes),
                f"{row['images']:,}",
                f"{row['patients']:,}",
                f"{row['ratio']:.2f}" if row["ratio"] is not None else "",
            ]
            for row in findings["splits"]
        ],
    )
    print(f"\nSplit policy: {findings['split']}. Shared between splits:")
    print_table(
        ["splits", "patients", "their images", "identical images"],
        [
            [" and ".join(pair["between"]), pair["patients"], pair["images"], pair["identical"]]
            for pair in findings["shared"]
        ],
    )
    groups = findings["identical"]
    crossing = sum(group["patients"] > 1 for group in groups)
    print(f"\nGroups of identical images: {len(groups)} (with different patient keys: {crossing})")
    for group in groups:
        print(f"  {'  =  '.join(group['names'])}")
    print(f"Unreadable images: {len(findings['unreadable'])}")
    for item in findings["unreadable"]:
        print(f"  {item['name']}: {item['reason']}")
    print()
    for problem in findings["problems"]:
        print(f"problem: {problem}")
    if not findings["problems"]:
        print("No leak between the splits, and every image can be read.")
