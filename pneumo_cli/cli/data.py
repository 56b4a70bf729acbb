"""``pneumo data``: check, import and download datasets."""

from __future__ import annotations

import sys
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
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.runtime.progress import for_stderr

if TYPE_CHECKING:
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import DatasetSpec

# Decoding at this size finds every damaged file, and is quick.
_CHECK_SIZE = 64


def add_commands(app: typer.Typer) -> None:
    """Add the group ``data`` to the program."""
    data = typer.Typer(
        cls=LazyGroup,
        rich_markup_mode=None,
        no_args_is_help=True,
        help="Check, import and download datasets.",
    )
    app.add_typer(data, name="data", rich_help_panel="Data")

    @data.command()
    def check(
        ctx: typer.Context,
        dataset: DatasetFlag = None,
        data_root: DataRootFlag = None,
        split: Annotated[str, typer.Option("--split", help="patient or source.")] = "patient",
        validation_fraction: FractionFlag = 0.25,
        split_seed: SplitSeedFlag = 42,
        data_home: HomeFlag = None,
        cache: CacheFlag = None,
        json: JsonFlag = False,
    ) -> None:
        """Count classes and patients; find identical files, leaks and unreadable images (exit code 1)."""
        machine = {"data_root": data_root, "data_home": data_home, "cache": cache}
        _check(ctx.obj, dataset, machine, (split, validation_fraction, split_seed), json)

    @data.command("import")
    def import_(
        ctx: typer.Context,
        path: Annotated[
            Path, typer.Argument(help="Folder or zip archive in the dataset's layout.", show_default=False)
        ],
        dataset: DatasetFlag = None,
        in_place: Annotated[
            bool, typer.Option("--in-place", help="Remember where the images lie; copy nothing.")
        ] = False,
        data_home: HomeFlag = None,
        cache: CacheFlag = None,
    ) -> None:
        """Check a dataset, copy or unpack it into pneumo's data folder, and remember the place."""
        _import(ctx.obj, path, dataset, in_place, {"data_home": data_home, "cache": cache})

    @data.command()
    def download(
        ctx: typer.Context,
        name: Annotated[str, typer.Argument(help="A registered dataset.", show_default=False)],
        data_home: HomeFlag = None,
        cache: CacheFlag = None,
    ) -> None:
        """Fetch a dataset from where its authors publish it, and remember the place."""
        _download(ctx.obj, name, {"data_home": data_home, "cache": cache})


def _check(
    plugins: Plugins,
    name: str | None,
    machine_flags: dict[str, Any],
    policy: tuple[str, float, int],
    as_json: bool,
) -> None:
    from pneumo_cli.data.prepare import prepare
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.trainers.session import open_dataset

    split, fraction, seed = policy
    if split not in ("patient", "source"):
        raise UsageError(f"--split is patient or source, not {split!r}")
    entry = dataset_entry(plugins, name)
    machine = resolve_machine(machine_flags)
    progress = for_stderr()
    given = machine_flags["data_root"] is not None
    data = prepare(
        open_dataset(entry, machine, progress, root_given=given),
        size=_CHECK_SIZE,
        policy="patient" if split == "patient" else "source",
        fraction=fraction,
        seed=seed,
        cache=machine.cache,
        progress=progress,
        skip_unreadable=True,
    )
    found = _findings(data)
    if as_json:
        print_json(found)
    else:
        _print_findings(found)
    if found["problems"]:
        raise typer.Exit(1)


def _findings(data: PreparedData) -> dict[str, Any]:
    records = data.dataset.records
    overlaps = data.overlaps
    problems = []
    for pair in overlaps.pairs:
        if pair.leaks:
            problems.append(
                f"{pair.first} and {pair.second} share {pair.patients} patients ({pair.images} images of "
                f"{pair.second}) and {pair.identical} identical images"
            )
    if len(data.split.excluded):
        problems.append(
            f"{len(data.split.excluded)} images of the training pool show a patient of the test pool, or are "
            "identical to one of its images (the split 'patient' leaves them out)"
        )
    if data.unreadable:
        count = len(data.unreadable)
        problems.append("1 image cannot be read" if count == 1 else f"{count} images cannot be read")
    return {
        "dataset": data.dataset.name,
        "place": data.dataset.place,
        "origin": data.dataset.origin,
        "synthetic": data.dataset.synthetic,
        "fingerprint": data.fingerprint,
        "images": len(records),
        "patients": len({record.patient for record in records}),
        "split": data.split.policy,
        "splits": [
            {
                "split": row.split,
                "counts": row.counts,
                "images": row.images,
                "patients": row.patients,
                "ratio": row.ratio,
            }
            for row in data.table()
        ],
        "identical": [
            {"names": list(group.names), "patients": group.patients, "labels": group.labels}
            for group in overlaps.identical
        ],
        "shared": [
            {
                "between": [pair.first, pair.second],
                "patients": pair.patients,
                "images": pair.images,
                "identical": pair.identical,
            }
            for pair in overlaps.pairs
        ],
        "excluded": len(data.split.excluded),
        "unreadable": [{"name": name, "reason": reason} for name, reason in data.unreadable],
        "problems": problems,
    }


def _print_findings(found: dict[str, Any]) -> None:
    print(
        f"{found['dataset']}: {found['images']:,} images of {found['patients']:,} patients in {found['place']}"
    )
    print(f"{found['origin']}\n")
    classes = list(found["splits"][0]["counts"])
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
            for row in found["splits"]
        ],
    )
    print(f"\nSplit by {found['split']}. Shared between splits:")
    print_table(
        ["splits", "patients", "images of them", "identical images"],
        [
            [" and ".join(pair["between"]), pair["patients"], pair["images"], pair["identical"]]
            for pair in found["shared"]
        ],
    )
    groups = found["identical"]
    crossing = sum(group["patients"] > 1 for group in groups)
    print(f"\n{len(groups)} groups of identical images ({crossing} of them across patient keys)")
    for group in groups:
        print(f"  {'  =  '.join(group['names'])}")
    print(f"Unreadable images: {len(found['unreadable'])}")
    for item in found["unreadable"]:
        print(f"  {item['name']}: {item['reason']}")
    print()
    for problem in found["problems"]:
        print(f"problem: {problem}")
    if not found["problems"]:
        print("No leak between the splits, and every image can be read.")


def _import(
    plugins: Plugins, path: Path, name: str | None, in_place: bool, machine_flags: dict[str, Any]
) -> None:
    from pneumo_cli.data.imports import import_data
    from pneumo_cli.settings.resolve import resolve_machine

    entry = dataset_entry(plugins, name)
    machine = resolve_machine(machine_flags)
    root = import_data(
        entry.spec,
        path,
        machine.data_home,
        copy=not in_place,
        cache=machine.cache,
        progress=for_stderr(),
    )
    print(root)
    _say_next(entry)


def _download(plugins: Plugins, name: str, machine_flags: dict[str, Any]) -> None:
    from pneumo_cli.data.imports import remember
    from pneumo_cli.settings.resolve import resolve_machine
    from pneumo_cli.specs import load_reference

    entry = plugins.datasets.get(name)
    spec = entry.spec
    if not spec.download:
        why = spec.instructions or "it needs no download" if not spec.needs_root else spec.instructions
        raise PneumoError(f"the dataset {spec.name} cannot be downloaded from here: {why}")
    machine = resolve_machine(machine_flags)
    root = load_reference(spec.download)(machine.data_home / spec.name, for_stderr())
    remember(machine.data_home, spec.name, root)
    print(root)
    _say_next(entry)


def _say_next(entry: Entry[DatasetSpec]) -> None:
    print(
        f"pneumo: remembered; next: pneumo data check --dataset {entry.spec.name}, "
        f"or pneumo run cnn --dataset {entry.spec.name}",
        file=sys.stderr,
    )
