"""Registers the command ``compare`` and the function of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``compare``."""
    from pneumo_compare.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterator[FunctionSpec]:
    """``pneumo_cli.compare``."""
    yield FunctionSpec(
        name="compare",
        summary="Compares runs on the same images, with paired intervals and tests",
        function="pneumo_compare.functions:compare",
    )
