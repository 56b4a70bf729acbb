"""Registers the command ``data audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumo_cli.api import FunctionSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

api_version = 1


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """The command ``data audit``."""
    from pneumo_audit.commands import add_commands

    add_commands(app)


@hookimpl
def register_functions() -> Iterator[FunctionSpec]:
    """``pneumo_cli.audit``."""
    yield FunctionSpec(
        name="audit",
        summary="Searches a dataset and its split for leaks, patient order and shift",
        function="pneumo_audit.functions:audit",
    )
