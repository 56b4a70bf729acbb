"""Commands that start without pydantic, and help that is read in a terminal of any width.

typer parses an option whose value is None through pydantic, which takes longer to import than everything else
together; and its own ``--help`` and completion options are None when they are not given. False says the same
to them and needs no parsing. Its tables of options leave 20 characters for the text where a trainer's flags stand
beside it, and cut the flags; so help is plain text, a flag above or beside what it does, by group.
"""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_FLAGS = ("install_completion", "show_completion")


WIDEST = 100
"""Characters of a line of help, where the terminal has more."""
WHOLE = 400
"""More characters than the first sentence of a help has."""

_WORDED_DEFAULT = re.compile(r"\[default: \((.*?)\)(\]|;)")


class LazyCommand(TyperCommand):
    """A command whose ``--help`` costs nothing when it is not asked for, and shows options by their group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name, text = record
                # typer puts parentheses around a default that is told in words.
                record = name, _WORDED_DEFAULT.sub(r"[default: \1\2", text)
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panel = getattr(parameter, "rich_help_panel", None)
                groups.setdefault(panel if isinstance(panel, str) else usual, []).append(record)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def get_help_option(self, ctx: Any) -> Any:
        return _false_by_default(super().get_help_option(ctx))


class LazyGroup(TyperGroup):
    """The same for a group, its completion options included; what its commands do is said whole."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(WHOLE)) for name, one in commands if one and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_help_option(self, ctx: Any) -> Any:
        return _false_by_default(super().get_help_option(ctx))

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name in _FLAGS:
                _false_by_default(parameter)
        return parameters


def make_lazy(app: typer.Typer) -> None:
    """Make light commands of all that an app and its groups have, but for those of a class of their own."""
    for command in app.registered_commands:
        if command.cls is TyperCommand:
            command.cls = LazyCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            make_lazy(group.typer_instance)


def _false_by_default(option: Any) -> Any:
    if option is not None:
        option.default = False
    return option
