"""Commands that start without pydantic.

typer parses an option whose value is None through pydantic, which takes longer to import than everything else
together; and its own ``--help`` and completion options are None when they are not given. False says the same
to them and needs no parsing.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

_FLAGS = ("install_completion", "show_completion")


class LightCommand(TyperCommand):
    """A command whose ``--help`` costs nothing when it is not asked for."""

    def get_help_option(self, ctx: Any) -> Any:
        return _false_by_default(super().get_help_option(ctx))


class LightGroup(TyperGroup):
    """The same for a group, its completion options included."""

    def get_help_option(self, ctx: Any) -> Any:
        return _false_by_default(super().get_help_option(ctx))

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name in _FLAGS:
                _false_by_default(parameter)
        return parameters


def _false_by_default(option: Any) -> Any:
    if option is not None:
        option.default = False
    return option
