"""Registers the command ``bench`` and the function of that name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``bench``."""
    from pneumo_bench.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterable[FunctionSpec]:
    """``pneumo_cli.bench``."""
    yield FunctionSpec(
        name="bench",
        summary="Measures how fast this machine trains, and how far that is from its limit",
        function="pneumo_bench.functions:bench",
    )
