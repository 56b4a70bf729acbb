"""Lines of text as people see them: escaped, and wrapped between words to the width of a terminal.

What comes from data, files and plugins may hold anything. Here it leaves the program: control characters, which
could move the cursor, hide text or forge further lines, are shown escaped.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import unicodedata
from typing import TextIO

from pneumo_cli.runtime.streams import is_terminal, printable

OFF_A_TERMINAL = 100
"""Characters of a line where there is no terminal, as in a file or a pipe."""
_NARROWEST = 40
_NAME = "pneumo: "

_WORD = r"[a-z][\w-]*(?=[\s;,:)]|$)"
_ARGUMENT = r"""(?:-{1,2}[\w-]+[= ]?|'[^']*'|"[^"]*"|[^\s'"]*[/\\.=*][^\s]*|[A-Z][A-Z0-9_]*\b|\d+)[^\s]*"""
_UNBROKEN = re.compile(
    rf"\(?(?:pneumo(?= [a-z])|pip install)(?: {_WORD}){{0,2}}(?: {_ARGUMENT})*\S*|\(?[\d.,]+ %\S*|\S+"
)
"""A command with its arguments, which is to be copied as a whole, a percentage, or a word."""


def line_width(stream: TextIO | None = None) -> int:
    """Characters that fit into a line of a stream, by default stderr: its terminal's, off a terminal 100."""
    stream = sys.stderr if stream is None else stream
    if stream is None or not is_terminal(stream):
        return OFF_A_TERMINAL
    columns = 0
    if not os.environ.get("COLUMNS"):
        try:  # of this stream: stdout, which shutil asks, may be a pipe
            columns = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError, AttributeError):
            columns = 0
    return max(_NARROWEST, columns or shutil.get_terminal_size().columns)


def display_width(text: str) -> int:
    """The columns that a text takes in a terminal: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def wrapped(text: str, width: int, start: str = "") -> list[str]:
    """A text as lines of at most ``width`` columns, broken between words. Commands and paths stay whole.

    Args:
        start: before the first line; the others are indented by as much.

    >>> wrapped("one two three; go on with: pneumo resume runs/cnn/x --epochs 4", 40, "- ")
    ['- one two three; go on with:', '  pneumo resume runs/cnn/x --epochs 4']
    """
    if display_width(start + text) <= width:
        return [start + text] if text else []
    lines: list[str] = []
    line, filled = start, False
    for unit in _UNBROKEN.findall(text):
        if filled and display_width(line) + 1 + display_width(unit) > width:
            lines.append(line)
            line, filled = " " * len(start), False
        line += f" {unit}" if filled else unit
        filled = True
    return [*lines, line] if filled else lines


def print_line(text: object, start: str = "") -> None:
    """Print a text on stderr, escaped; in a terminal wrapped to its width.

    Elsewhere it takes one line, for programs that read it.

    Args:
        start: before it; further lines are indented by as much.
    """
    for line in _lines(printable(str(text)), start):
        print(line, file=sys.stderr, flush=True)


def print_message(text: object) -> None:
    """Print a message of the program on stderr, as :func:`print_line` does: ``pneumo: …``."""
    print_line(text, _NAME)


class MessageFormatter(logging.Formatter):
    """Log records as :func:`print_message` prints; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return "\n".join(_lines(printable(record.message), _NAME))


class EscapingFormatter(logging.Formatter):
    """Log records whose messages take one line each, whatever names they hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = printable(record.message)
        return super().formatMessage(record)


def _lines(text: str, start: str) -> list[str]:
    return wrapped(text, line_width(), start) if is_terminal(sys.stderr) else [f"{start}{text}"]
