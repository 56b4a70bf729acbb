"""How results reach stdout: aligned columns for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_text(text: str) -> None:
    """A paragraph; on a terminal it is wrapped to the window's width."""
    print(textwrap.fill(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns; on a terminal the last one is wrapped to the window's width."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [
        max(len(header), *(len(row[i]) for row in cells)) if cells else len(header)
        for i, header in enumerate(headers)
    ]
    room = 0
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
    print(
        "  ".join(header.upper().ljust(width) for header, width in zip(headers, widths, strict=True)).rstrip()
    )
    for row in cells:
        last = textwrap.wrap(row[-1], room) if room >= 20 else [row[-1]]
        start = "".join(cell.ljust(width) + "  " for cell, width in zip(row[:-1], widths[:-1], strict=True))
        print((start + (last[0] if last else "")).rstrip())
        for line in last[1:]:
            print(" " * len(start) + line)
