"""Parts of Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

HEADER = "% Made from the code when the site is built; edit what the text is taken from.\n"
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], name: str = "") -> str:
    """A table. Empty without rows.

    Args:
        name: a CSS class, with which the columns get their widths.
    """
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    if not lines:
        return ""
    text = "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *lines])
    return f"{{.{name}}}\n{text}\n" if name else f"{text}\n"


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return " ".join(text.split()).replace("\\|", "|").replace("|", "\\|")


def code(text: object) -> str:
    """A text in the font of code; nothing for an empty one."""
    return f"`{text}`" if f"{text}" else ""


def plain(text: str) -> str:
    """A help or a summary, which is plain text: flags in the font of code, no other marks but those of code."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        for mark in ("\\", "*", "_", "<", "[", "{", "$", "~"):
            parts[number] = parts[number].replace(mark, "\\" + mark)
        parts[number] = _FLAG.sub(lambda flag: code(flag[0].replace("\\", "")), parts[number])
    return "`".join(parts)


def page(title: str, *parts: str, label: str = "") -> str:
    """A page of several parts; empty parts are left out."""
    head = f"({label})=\n# {title}" if label else f"# {title}"
    return HEADER + "\n" + "\n\n".join([head, *(part.strip("\n") for part in parts if part.strip())]) + "\n"


def toctree(names: Iterable[str], *, hidden: bool = True, depth: int = 1) -> str:
    """The pages below a page."""
    options = [":hidden:"] if hidden else [f":maxdepth: {depth}"]
    return "\n".join(["```{toctree}", *options, "", *names, "```"])
