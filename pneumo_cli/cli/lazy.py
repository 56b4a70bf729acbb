"""Commands that start without pydantic, and plain-text help that is readable in a terminal of any width.

typer parses an option whose value is None with pydantic, whose import takes longer than everything else together.
Its own ``--help`` and completion options are None if they are not given; False means the same and needs no
parsing. typer's own help puts options into tables that leave 20 characters for the text of a trainer's flags.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo

from pneumo_cli.cli.data_options import with_dataset_options
from pneumo_cli.cli.path_arguments import with_homes
from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Registries, absent_text, bundled_in
from pneumo_cli.runtime.streams import encodable

WIDEST = 100
"""The width of help in wider terminals, in characters."""
WHOLE = 400
"""More characters than the first sentence of a command's help has."""

_COMPLETION = ("install_completion", "show_completion")
_DEFAULT_IN_WORDS = re.compile(r"\[default: \((.*?)\)(\]|;)")
_TYPE = re.compile(r" <(?:list\[)?(\w+)[^>]*>$")
_RANGES = {r"\b(\d+)<=x<=(\d+)\]": r"\1 to \2]", r"\bx>=(\d+)\]": r"at least \1]"}
_METAVARS = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "path": "PATH", "Path": "PATH"}


def write_sections(formatter: Any, rows: Iterable[tuple[str, tuple[str, str]]]) -> None:
    """Write (title, (name, text)) rows into a help, one section per title."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for title, row in rows:
        sections.setdefault(title, []).append(row)
    for title, own in sections.items():
        with formatter.section(title):
            formatter.write_dl(own)


def panel_of(item: Any, default: str) -> str:
    """The section of the help that a command or a parameter stands in."""
    panel = getattr(item, "rich_help_panel", None)
    return panel if isinstance(panel, str) else default


def _help_row(parameter: Any, ctx: Any) -> tuple[str, str] | None:
    """A parameter's name and text in plain words: ``TEXT`` for typer's ``<str>``, and no type for an argument."""
    record = parameter.get_help_record(ctx)
    if record is None:
        return None
    name, text = record
    is_argument = parameter.param_type_name == "argument"
    for range_text, words in _RANGES.items():
        text = re.sub(range_text, words, text)
    name = _TYPE.sub(lambda found: "" if is_argument else f" {_METAVARS.get(found[1], 'TEXT')}", name)
    return name, _DEFAULT_IN_WORDS.sub(
        r"[default: \1\2", text
    )  # typer puts parentheses around such a default


class LazyCommand(TyperCommand):
    """A command whose ``--help`` costs nothing unless it is asked for, with options in sections."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        usual = {"argument": "Arguments", "option": "Options"}
        write_sections(
            formatter,
            (
                (panel_of(parameter, usual[parameter.param_type_name]), row)
                for parameter in self.get_params(ctx)
                if (row := _help_row(parameter, ctx)) is not None
            ),
        )

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def get_help(self, ctx: Any) -> str:
        return encodable(super().get_help(ctx))

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

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        write_sections(formatter, self.command_rows(ctx, lambda command: "Commands"))

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
            names = [row[0] for _, row in self.command_rows(ctx, lambda command: "")]
            raise UsageError(f"unknown command {' '.join(path)!r}; {nearest(name, names)}")
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: Any) -> str:
        return encodable(super().get_help(ctx))

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
