"""``report.md``: the report for repositories, pull requests and issues, with links to the figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Block, Commands, Document, Folded, Paragraph, Pictures, Table
from pneumo_cli.reports.formatting import DISCLAIMER, typeset
from pneumo_cli.reports.images import inside
from pneumo_cli.runtime.streams import with_visible_controls

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")


def render_markdown(report: Mapping[str, Any], folder: Path) -> str:
    """Render a report as GitHub-flavoured Markdown.

    Args:
        report: the contents of ``report.json``; any part may be absent.
        folder: the run folder. Figures are linked relative to it; one that is no PNG file in it is listed as
            missing.

    Returns:
        The text, ending in a newline. Quoted text is escaped: it cannot break a table or become markup.
    """
    return render_document(document(report), folder)


def render_document(page: Document, folder: Path) -> str:
    """Render a document as :func:`render_markdown` does, with figures linked relative to ``folder``."""
    blocks = [f"# {escaped(page.title)}", escaped(page.byline)]
    blocks += [f"> {DISCLAIMER}", _prose(page.summary)]
    if page.verdict:
        blocks.append(f"**{_prose(page.verdict)}**")
    if page.cautions:
        blocks.append("**Caveats**")
        blocks.append("\n".join(f"- {_prose(caution)}" for caution in page.cautions))
    if page.headlines:
        head = tuple(item.label for item in page.headlines)
        rows = [tuple(typeset(item.value) for item in page.headlines)]
        if any(item.interval for item in page.headlines):
            rows.append(tuple(item.interval and f"95 %: {typeset(item.interval)}" for item in page.headlines))
        blocks += [f"**{escaped(page.headline_title)}**", _table(Table(head, tuple(rows)))]
    blocks += [text for block in page.opening for text in _block(block, folder)]
    for section in page.sections:
        blocks.append(f"## {escaped(section.title)}")
        blocks += [text for block in section.blocks for text in _block(block, folder)]
    blocks.append(f"Written by pneumo {escaped(page.version)}.".replace(" .", "."))
    return with_visible_controls("\n\n".join(block for block in blocks if block) + "\n")


def escaped(text: str) -> str:
    """Text on one line, without characters that Markdown or HTML would interpret."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line)


def _prose(text: str) -> str:
    return escaped(typeset(text))


def _block(block: Block, folder: Path) -> Iterator[str]:
    match block:
        case Paragraph(text, warning):
            yield f"> **Note.** {_prose(text)}" if warning else _prose(text)
        case Table():
            if block.title:
                yield f"**{escaped(block.title)}**"
            yield _table(block)
            if block.note:
                yield _prose(block.note)
        case Pictures():
            for file, caption, alternative in block.described():
                yield from _picture(file, caption, alternative, folder)
        case Commands(lines):
            yield _fenced(lines)
        case Folded(title, blocks):
            yield f"<details><summary>{escaped(title)}</summary>"
            for inner in blocks:
                yield from _block(inner, folder)
            yield "</details>"


def _table(table: Table) -> str:
    rules = ["---:" if column in table.numeric else "---" for column in range(len(table.head))]
    rows = [
        [_prose(cell) if column in table.numeric else escaped(cell) for column, cell in enumerate(row)]
        for row in table.rows
    ]
    for row, link in zip(rows, table.links, strict=False):
        if link:
            row[0] = f"[{row[0]}]({quote(link)})"
    if table.marked is not None:
        rows[table.marked] = [f"**{cell}**" if cell else cell for cell in rows[table.marked]]
    lines = [[escaped(cell) for cell in table.head], rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _picture(file: str, caption: str, alternative: str, folder: Path) -> Iterator[str]:
    if inside(folder, file) is None:
        yield f"*Missing figure: {escaped(file)}*"
        return
    yield f"![{escaped(alternative)}]({quote(file)})"
    if caption:
        yield f"*{_prose(caption)}*"


def _fenced(lines: Sequence[str]) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}sh", *lines, fence])
