"""Registers the command ``reproduce``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``reproduce``."""
    from pneumo_reproduce.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterator[FunctionSpec]:
    """``pneumo_cli.reproduce``."""
    yield FunctionSpec(
        name="reproduce",
        summary="Runs the source report's five tasks and compares the results with the report's",
        function="pneumo_reproduce.functions:reproduce",
    )
