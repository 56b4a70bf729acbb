"""How results are printed on stdout: aligned columns for people, JSON for programs.

On a terminal no line is wider than it, and words stay whole; elsewhere a row takes one line, whatever its length.
Control characters of names and texts are shown escaped; in JSON they have its own escapes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pneumo_cli.runtime.streams import holds_all_characters, is_terminal, printable
from pneumo_cli.runtime.terminal import line_width, print_message, wrapped


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json_text(value, indent=2))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON for stdout: with ASCII escapes for control characters, and where its encoding lacks others.

    Raises:
        ValueError: the value holds a NaN or an infinity, which JSON lacks.
    """
    import json

    text = json.dumps(value, indent=indent, ensure_ascii=not holds_all_characters(), allow_nan=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        letter
        if letter == "\n" or letter.isprintable()
        else json.dumps(letter)[1:-1].replace("\x7f", "\\u007f")
        for letter in text
    )


def print_text(text: object, start: str = "") -> None:
    """Print a text on a line; on a terminal it is wrapped between words to the window's width.

    Args:
        start: before it; further lines are indented by as much.
    """
    line, start = printable(str(text)), printable(start)
    for part in wrapped(line, line_width(sys.stdout), start) if is_terminal(sys.stdout) else [start + line]:
        print(part)


def print_line(text: object) -> None:
    """Print a line that is to be copied as a whole, such as a path; it is not wrapped."""
    print(printable(str(text)))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; on a terminal wide ones are wrapped between words to the window's width."""
    from pneumo_cli.workflows.tables import text_table

    cells = [[str(value) for value in row] for row in rows]
    width = line_width(sys.stdout) if is_terminal(sys.stdout) else 0
    for line in text_table([header.upper() for header in headers], cells, width=width):
        print(line)


def print_columns(columns: Mapping[str, Sequence[str]], dropped_first: Sequence[str], prose: int = 0) -> None:
    """Print a table; on a terminal, only the columns that fit into the window's width, and stderr names the others.

    Args:
        columns: title to cells.
        dropped_first: titles of the columns to leave out, in this order.
        prose: the width that the last column may be wrapped to; 0: it is not wrapped.
    """
    shown = columns
    if is_terminal(sys.stdout):
        from pneumo_cli.workflows.tables import fitting

        shown = fitting(columns, dropped_first, line_width(sys.stdout), prose)
    print_table(list(shown), list(zip(*shown.values(), strict=True)))
    if left_out := [title for title in columns if title not in shown]:
        print_message(f"left out: {', '.join(left_out)}; a wider terminal or --json shows them")


def cell_text(value: object) -> str:
    """A value of a table: yes or no for a bool, a list's items separated by commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
