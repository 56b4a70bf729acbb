"""Commands that start without pydantic.

typer parses an option whose value is None with pydantic, whose import takes longer than everything else together.
Its own ``--help`` and completion options are None if they are not given; False means the same and needs no
parsing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo

from pneumo_cli.cli.command_names import unknown_command
from pneumo_cli.cli.data_options import DATASET_PANEL, with_dataset_options
from pneumo_cli.cli.help_pages import (
    help_all_option,
    help_row,
    help_text,
    panel_of,
    shows_all,
    without_bounds,
    write_sections,
)
from pneumo_cli.cli.path_arguments import with_homes
from pneumo_cli.errors import UsageError
from pneumo_cli.installation import absent_text, bundled_in
from pneumo_cli.registry import Registries

WHOLE = 400
"""More characters than the first sentence of a command's help has."""

_COMPLETION = ("install_completion", "show_completion")


class LazyCommand(TyperCommand):
    """A command whose ``--help`` costs nothing unless it is asked for, with options in sections.

    Options for few users stand in ``--help-all`` alone, if there are any.
    """

    _help_all: Any = None

    def main_params(self, parameters: list[Any]) -> list[Any]:
        """The parameters that ``--help`` shows, in order: all but the options of some datasets."""
        return [one for one in parameters if not panel_of(one, "").startswith(DATASET_PANEL)]

    def main_section(self, parameter: Any) -> str:
        """The title of the section of ``--help`` that a parameter stands in."""
        return panel_of(parameter, {"argument": "Arguments", "option": "Options"}[parameter.param_type_name])

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        help_option = self.get_help_option(ctx)
        if help_option is not None and len(self.main_params(parameters)) < len(parameters):
            self._help_all = self._help_all or help_all_option(help_option)
            parameters.append(self._help_all)
        return parameters

    def format_options(self, ctx: Any, formatter: Any) -> None:
        parameters = self.get_params(ctx)
        if shows_all(ctx):
            rows = [(LazyCommand.main_section(self, one), help_row(one, ctx)) for one in parameters]
        else:
            shown = self.main_params(parameters)
            rows = [(self.main_section(one), without_bounds(help_row(one, ctx))) for one in shown]
        write_sections(formatter, [(section, row) for section, row in rows if row is not None])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        super().format_epilog(ctx, formatter)
        shown = [one for one in self.get_params(ctx) if not one.hidden]
        more = len(shown) - len(self.main_params(shown))
        if more and not shows_all(ctx):
            formatter.write_paragraph()
            formatter.write_text(f"{more} more options: {ctx.command_path} --help-all")

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def get_help(self, ctx: Any) -> str:
        return help_text(ctx, self.format_help)

    def get_help_option(self, ctx: Any) -> Any:
        return _false_by_default(super().get_help_option(ctx))


class DeferredCommand(TyperCommand):
    """A command that is listed by its help alone; it is built, with its parameters, when it is used.

    Args:
        build: makes the command.
        listing: name and help, as for a typer command.
    """

    def __init__(self, build: Callable[[], Any], **listing: Any) -> None:
        super().__init__(**listing)
        self._build = build

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self._build().make_context(info_name, args, parent=parent, **extra)


class LazyGroup(TyperGroup):
    """The same for a group and its completion options; the first sentence of each command's help is not cut."""

    commands_title = "Commands"

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        rows = (one.get_help_record(ctx) for one in self.get_params(ctx))
        write_sections(formatter, [("Options", row) for row in rows if row is not None])

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        write_sections(formatter, self.command_rows(ctx, lambda command: self.commands_title))

    def command_rows(self, ctx: Any, title: Callable[[Any], str]) -> list[tuple[str, tuple[str, str]]]:
        """The visible commands, each with the title of its section."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [
            (title(command), (name, command.get_short_help_str(WHOLE)))
            for name, command in commands
            if command is not None and not command.hidden
        ]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command.

        Raises:
            UsageError: there is none of this name; says which distribution to install, or the nearest name.
        """
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            path = [*([ctx.info_name] if ctx.parent else []), name]
            if bundled := bundled_in("command", "/".join(path)):
                raise UsageError(
                    f"the command {' '.join(path)!r} {absent_text(bundled, ctx.obj.why_absent(bundled))}"
                )
            rows = self.command_rows(ctx, lambda command: "")
            known = {row[0]: self.get_command(ctx, row[0]) for _, row in rows}
            raise UsageError(unknown_command(ctx, args, known))
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: Any) -> str:
        return help_text(ctx, self.format_help)

    def get_help_option(self, ctx: Any) -> Any:
        return _false_by_default(super().get_help_option(ctx))

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.name in _COMPLETION:
                _false_by_default(parameter)
        return parameters


def make_lazy(app: typer.Typer, registries: Registries) -> None:
    """Make all commands of an app and its groups lazy, except those with a class of their own."""
    app.registered_commands = [
        _deferred(command, registries) if command.cls is TyperCommand else command
        for command in app.registered_commands
    ]
    for group in app.registered_groups:
        if group.typer_instance is not None:
            make_lazy(group.typer_instance, registries)


def _deferred(info: CommandInfo, registries: Registries) -> CommandInfo:
    """The same command as a deferred one: typer would build the parameters of all commands at each start."""
    callback = info.callback
    assert callback is not None
    own, listed = copy(info), copy(info)
    own.cls = LazyCommand

    def build() -> Any:
        own.callback = with_homes(with_dataset_options(callback, registries))
        return get_command_from_info(own, pretty_exceptions_short=False, rich_markup_mode=None)

    listed.name = info.name or get_command_name(callback.__name__)
    listed.help = info.help if info.help is not None else inspect.getdoc(callback)
    listed.callback, listed.cls = _no_parameters, cast(Any, partial(DeferredCommand, build))
    return listed


def _no_parameters() -> None:
    """Stands for the callback of a deferred command."""


def _false_by_default(option: Any) -> Any:
    if option is not None:
        option.default = False
    return option
