"""Registers the command ``sweep`` and the functions ``sweep`` and ``resume_sweep``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``sweep``."""
    from pneumo_sweep.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterable[FunctionSpec]:
    """The functions of the same name."""
    yield FunctionSpec(
        name="sweep",
        summary="Trains with many settings, and chooses the best on the validation images",
        function="pneumo_sweep.functions:sweep",
    )
    yield FunctionSpec(
        name="resume_sweep",
        summary="Goes on with a sweep, or adds workers to it",
        function="pneumo_sweep.functions:resume_sweep",
    )
