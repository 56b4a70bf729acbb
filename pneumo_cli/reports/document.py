"""The document model between contents and renderers: sections of paragraphs, tables, pictures and commands.

Texts are plain; escaping and layout are left to the renderers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Paragraph:
    """One or two sentences; ``warning`` makes them stand out."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text, with an optional title above and note below.

    ``numeric`` columns are right-aligned, with text in brackets set in gray; the ``marked`` row is highlighted.
    ``links`` holds a file for each row's name, relative to the page; an empty string is no link.
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
    """Figures: (path in the run folder, caption).

    ``alternatives`` say the result in words, for those who do not see the pictures, one per figure; where there is
    none, the caption does. ``compact`` pictures are set beside each other.
    """

    items: tuple[tuple[str, str], ...]
    alternatives: tuple[str, ...] = ()
    compact: bool = False

    def described(self) -> Iterator[tuple[str, str, str]]:
        """Path, caption and alternative of each figure."""
        for place, (file, caption) in enumerate(self.items):
            alternative = self.alternatives[place] if place < len(self.alternatives) else ""
            yield file, caption, alternative or caption


@dataclass(frozen=True)
class Commands:
    """Shell command lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """Details that are collapsed at first."""

    title: str
    blocks: tuple[Block, ...]


Block: TypeAlias = Paragraph | Table | Pictures | Commands | Folded


@dataclass(frozen=True)
class Section:
    """A section of the report; ``anchor`` is unique. A ``folded`` one shows its title until it is opened."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Headline:
    """One headline metric: name, value, a few words on its meaning, and its 95 % interval, if known."""

    label: str
    value: str
    meaning: str
    interval: str = ""


@dataclass(frozen=True)
class Document:
    """The whole report in reading order.

    Attributes:
        byline: date, duration, name of the run.
        cautions: caveats, one or two sentences each.
        summary: what was done, for readers who do not program.
        verdict: the main result in one sentence; may be empty.
        headline_title: the images on which the headline metrics were measured.
        opening: what is shown before the headline metrics, such as pictures.
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
    opening: tuple[Block, ...] = ()
