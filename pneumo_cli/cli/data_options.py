"""Flags that commands on datasets share, and the dataset that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pneumo_cli.cli.options import RootFlag
from pneumo_cli.errors import UsageError

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import DatasetSpec


def _checked_share(value: float) -> float:
    if not 0 < value < 1:
        raise UsageError(f"--validation-fraction is {value:g}: it is a share above 0 and below 1")
    return value


DatasetFlag = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="A registered dataset.", show_default="the only one that reads image files"
    ),
]
DataRootFlag = RootFlag
FractionFlag = Annotated[
    float,
    typer.Option(
        "--validation-fraction",
        help="Share of the training pool used for validation.",
        callback=_checked_share,
    ),
]
SplitSeedFlag = Annotated[int, typer.Option("--split-seed", help="Seed of the split.")]
HomeFlag = Annotated[str | None, typer.Option("--data-home", help="Folder of imported datasets.")]
CacheFlag = Annotated[str | None, typer.Option("--cache", help="Folder of decoded images.")]


def dataset_entry(plugins: Plugins, name: str | None) -> Entry[DatasetSpec]:
    """The dataset of this name; without a name, the only one that reads files.

    Raises:
        UsageError: no dataset reads files, or several do.
    """
    if name is not None:
        return plugins.datasets.get(name)
    reading = [entry for entry in plugins.datasets.entries() if entry.spec.needs_root]
    if len(reading) == 1:
        return reading[0]
    names = ", ".join(entry.qualified_name for entry in reading) or "none"
    raise UsageError(f"choose a dataset with --dataset NAME; those that read files: {names}")
