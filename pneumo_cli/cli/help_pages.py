"""Help in plain text, whole in a terminal of any width: first what matters, all of it with ``--help-all``.

typer's own help puts options into tables that leave 20 characters for the text of a trainer's flags.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Iterable
from copy import copy
from functools import lru_cache
from typing import Any

import typer

from pneumo_cli.runtime.streams import encodable

WIDEST = 100
"""The width of help in wider terminals, in characters."""

_NARROWEST = 30
_FLAGS = 30  # characters beside which there is a text
_ALL = "pneumo.help_all"
_DEFAULT_IN_WORDS = re.compile(r"\[default: \((.*?)\)(\]|;)")
_UNBROKEN = re.compile(r"\[[^\]]{0,30}\]$")
_BOUNDS = re.compile(r" \((?:at least|at most|above|below) [^()]*\)\.")
_TYPE = re.compile(r" <(?:list\[)?(\w+)[^>]*>$")
_RANGES = {r"\b(\d+)<=x<=(\d+)\]": r"\1 to \2]", r"\bx>=(\d+)\]": r"at least \1]"}
_METAVARS = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "path": "PATH", "Path": "PATH"}
_HYPHEN, _SPACE = "\u2011", "\u00a0"  # of these lines are not wrapped


def help_text(ctx: Any, write: Callable[[Any, Any], None]) -> str:
    """The help that ``write`` writes into a formatter; no flag is broken at a hyphen.

    Args:
        ctx: of the command, as given to ``write`` before the formatter.
    """
    widest = min(ctx.max_content_width or WIDEST, shutil.get_terminal_size().columns)
    formatter = _unbroken(ctx.formatter_class)(width=ctx.terminal_width or max(_NARROWEST, widest - 2))
    write(ctx, formatter)
    return encodable(formatter.getvalue().rstrip("\n"))


@lru_cache(maxsize=4)
def _unbroken(base: Any) -> Any:
    class Unbroken(base):
        """A formatter whose lines are not broken within ``--image-size`` or ``[default: 0.1]``."""

        def write_heading(self, heading: str) -> None:
            lines = textwrap.wrap(f"{heading}:", self.width, subsequent_indent="  ", break_on_hyphens=False)
            self.write("".join(f"{line}\n" for line in lines))

        def write_text(self, text: str) -> None:
            super().write_text(_whole_words(text))

        def write_dl(self, rows: Iterable[tuple[str, str]], *options: Any, **more: Any) -> None:
            if not options:
                more.setdefault("col_max", max(10, min(_FLAGS, self.width - 28)))
            own = [(name, _UNBROKEN.sub(_with_hard_spaces, text)) for name, text in rows]
            super().write_dl([(name, _whole_words(text)) for name, text in own], *options, **more)

        def getvalue(self) -> str:
            return str(super().getvalue()).replace(_HYPHEN, "-").replace(_SPACE, " ")

    return Unbroken


def _whole_words(text: str) -> str:
    return re.sub(r"(?<=\w)-(?=\w)|(?<!\S)--?(?=\w)", lambda found: found[0].replace("-", _HYPHEN), text)


def _with_hard_spaces(found: re.Match[str]) -> str:
    return found[0].replace(" ", _SPACE)


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


def help_row(parameter: Any, ctx: Any) -> tuple[str, str] | None:
    """A parameter's name and text in plain words: ``TEXT`` for typer's ``<str>``, and no type for an argument."""
    record = parameter.get_help_record(ctx)
    if record is None:
        return None
    name, text = record
    is_argument = parameter.param_type_name == "argument"
    for range_text, words in _RANGES.items():
        text = re.sub(range_text, words, text)
    name = _TYPE.sub(lambda found: "" if is_argument else f" {_METAVARS.get(found[1], 'TEXT')}", name)
    # typer puts parentheses around a default in words.
    return name, _DEFAULT_IN_WORDS.sub(r"[default: \1\2", text)


def shows_all(ctx: Any) -> bool:
    """Whether ``--help-all`` is asked for."""
    return bool(ctx.meta.get(_ALL))


def show_all(ctx: Any) -> None:
    """Let the help of a command and of its subcommands be that of ``--help-all``."""
    ctx.meta[_ALL] = True


def without_bounds(row: tuple[str, str] | None) -> tuple[str, str] | None:
    """A row without the bounds of a number, which an error names."""
    return row and (row[0], _BOUNDS.sub(".", row[1]))


def help_all_option(help_option: Any) -> Any:
    """The option ``--help-all``, made of a command's ``--help``."""

    def show(ctx: Any, _: Any, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            show_all(ctx)
            typer.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    option = copy(help_option)
    option.name, option.opts, option.callback = "help_all", ["--help-all"], show
    option.help = "Show all options and exit."
    return option
