"""How results are printed on stdout: aligned columns for people, JSON for programs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pneumo_cli.runtime.streams import holds_all_characters


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json_text(value, indent=2))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON for stdout: with ASCII escapes where its encoding lacks characters.

    Raises:
        ValueError: the value holds a NaN or an infinity, which JSON lacks.
    """
    import json

    return json.dumps(value, indent=indent, ensure_ascii=not holds_all_characters(), allow_nan=False)


def print_text(text: str) -> None:
    """Print a paragraph; on a terminal it is wrapped to the window's width."""
    print(textwrap.fill(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; on a terminal the last one is wrapped to the window's width."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    room = 0
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
    for row in [[header.upper() for header in headers], *cells]:
        start = "".join(cell.ljust(width) + "  " for cell, width in zip(row[:-1], widths[:-1], strict=True))
        last = textwrap.wrap(row[-1], room) if room >= 20 else [row[-1]]
        print((start + (last[0] if last else "")).rstrip())
        for line in last[1:]:
            print(" " * len(start) + line)


def print_columns(
    columns: Mapping[str, Sequence[str]], dropped_first: Sequence[str], wrapped: int = 0
) -> None:
    """Print a table; on a terminal, only the columns that fit into the window's width.

    Args:
        columns: title to cells.
        dropped_first: titles of the columns to leave out, in this order.
        wrapped: the width that the last column may be wrapped to; 0: it is not wrapped.
    """
    shown = columns
    if sys.stdout.isatty():
        from pneumo_cli.workflows.tables import fitting

        shown = fitting(columns, dropped_first, shutil.get_terminal_size().columns, wrapped)
    print_table(list(shown), list(zip(*shown.values(), strict=True)))


def cell_text(value: object) -> str:
    """A value of a table: yes or no for a bool, a list's items separated by commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
