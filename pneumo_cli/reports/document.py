"""A report between its contents and its renderers: sections of paragraphs, tables, pictures and commands.

Texts are plain: escaping is the renderers' part, and layout too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Paragraph:
    """A sentence or two; ``warning`` where a reader must not miss it."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of texts, below a title and above a note, if any.

    ``numeric`` columns are flush right, and what is in brackets there steps back; the ``marked`` row stands out.
    ``links`` lead from the rows' names to other files, relative to the page, one for each row; empty: none.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    marked: int | None = None
    title: str = ""
    note: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """Figures: (path within the run folder, caption)."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """What only some readers want: shown on demand."""

    title: str
    blocks: tuple[Block, ...]


Block: TypeAlias = Paragraph | Table | Pictures | Commands | Folded


@dataclass(frozen=True)
class Section:
    """A headed part of the report; ``anchor`` is unique."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Headline:
    """One large number: its name, its value, what that means in a few words, and its 95 % interval, if known."""

    label: str
    value: str
    meaning: str
    interval: str = ""


@dataclass(frozen=True)
class Document:
    """The whole report in reading order.

    Attributes:
        byline: when, how long, which run.
        cautions: what a reader has to keep in mind, a sentence or two each.
        summary: what was done, for a reader who is no programmer.
        verdict: how good the result is, in one sentence; may be empty.
        headline_title: on which images the headline numbers were measured.
    """

    title: str
    byline: str
    cautions: tuple[str, ...]
    summary: str
    verdict: str
    headline_title: str
    headlines: tuple[Headline, ...]
    sections: tuple[Section, ...]
    version: str
