"""Registers the commands ``new`` and ``check``, and the dataset ``toy``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pneumo_cli.api import DatasetSpec, hookimpl

if TYPE_CHECKING:
    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The commands ``new`` and ``check``."""
    from pneumo_author.commands import add_commands

    add_commands(app)


@hookimpl
def register_datasets() -> Iterable[DatasetSpec]:
    """Data to try a plugin with."""
    yield DatasetSpec(
        name="toy",
        summary="64 images of 32 px, noise and bright discs: to try a plugin in seconds",
        factory="pneumo_author.toy:open_toy",
        synthetic=True,
    )
