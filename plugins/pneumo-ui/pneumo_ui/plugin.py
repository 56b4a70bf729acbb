"""Registers the command ``ui``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumo_cli.api import hookimpl

if TYPE_CHECKING:
    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``ui``."""
    from pneumo_ui.commands import add_commands

    add_commands(app)
