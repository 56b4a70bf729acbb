"""Which data a command is about: the flags that commands on data share, and the dataset that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pneumo_cli.errors import UsageError

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Entry
    from pneumo_cli.specs import DatasetSpec

DatasetFlag = Annotated[
    str | None,
    typer.Option("--dataset", help="A registered dataset.", show_default="the one that reads files"),
]
DataRootFlag = Annotated[
    str | None,
    typer.Option("--data-root", help="Folder or zip archive of the images.", show_default=False),
]
FractionFlag = Annotated[
    float, typer.Option("--validation-fraction", help="Share of the training pool that validates.")
]
SplitSeedFlag = Annotated[int, typer.Option("--split-seed", help="Seed of the split.")]
HomeFlag = Annotated[
    str | None, typer.Option("--data-home", help="Folder of imported datasets.", show_default=False)
]
CacheFlag = Annotated[
    str | None, typer.Option("--cache", help="Folder of decoded images.", show_default=False)
]


def dataset_entry(plugins: Plugins, name: str | None) -> Entry[DatasetSpec]:
    """The dataset of a name; without one, the only one that reads files.

    Raises:
        UsageError: there is none, or there are several.
    """
    if name is not None:
        return plugins.datasets.get(name)
    reading = [entry for entry in plugins.datasets.entries() if entry.spec.needs_root]
    if len(reading) == 1:
        return reading[0]
    names = ", ".join(entry.qualified_name for entry in reading) or "none"
    raise UsageError(f"say which dataset with --dataset NAME; those that read files: {names}")
