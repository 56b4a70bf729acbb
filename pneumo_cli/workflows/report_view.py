"""How results show themselves: a card with the most important numbers, and the page of the report.

Everything that comes from data, files and plugins is escaped.
"""

from __future__ import annotations

import html
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pneumo_cli.errors import PneumoError, one_line
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.index import BUNDLE, read_report
from pneumo_cli.runtime.json_values import text
from pneumo_cli.runtime.streams import encodable, printable
from pneumo_cli.runtime.terminal import wrapped
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.tables import STYLE, aligned, fitting, html_table

_LARGEST = 16 * 2**20  # bytes of a page that a notebook shows, which keeps a copy of it
_HEIGHT = 640  # pixels


@dataclass(frozen=True)
class Card:
    """A result in short.

    Attributes:
        title: what it is a result of.
        facts: state, number of images, duration.
        sentence: the main result; may be empty.
        columns: of the table of metrics: the head of each to its cells, the names of the metrics first.
        numeric: the heads of the columns that are right-aligned.
        below: what the table leaves out; may be empty.
        remarks: ``Caveats`` and ``Notes`` to sentences.
        files: a label to a path.
    """

    title: str
    facts: str = ""
    sentence: str = ""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    numeric: Sequence[str] = ()
    below: str = ""
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    def html(self) -> str:
        """For notebooks."""
        parts = [f'<p class="title">{html.escape(self.title)}</p>']
        parts += [f'<p class="soft">{html.escape(self.facts)}</p>'] if self.facts else []
        parts += [f"<p>{html.escape(self.sentence)}</p>"] if self.sentence else []
        if self.columns:
            rows = list(zip(*self.columns.values(), strict=True))
            parts.append(html_table(self.columns, rows, self.numeric))
        parts += [f'<p class="soft">{html.escape(self.below)}</p>'] if self.below else []
        for heading, sentences in self.remarks.items():
            items = "".join(f"<li>{html.escape(text(one))}</li>" for one in sentences)
            if items:
                title = html.escape(f"{heading} ({len(sentences)})")
                parts.append(f"<details><summary>{title}</summary><ul>{items}</ul></details>")
        links = " · ".join(_link(label, path) for label, path in self.files.items())
        parts += [f'<p class="soft">{links}</p>'] if links else []
        return f'{STYLE}<div class="pneumo card">{"".join(parts)}</div>'

    def text(self) -> str:
        """For terminals and logs."""
        lines = [f"{self.title}: {self.facts}" if self.facts else self.title]
        width = shutil.get_terminal_size().columns
        lines += wrapped(self.sentence, width)
        lines += (
            aligned(fitting(self.columns, self._dropped_first(), width), width=width) if self.columns else []
        )
        lines += wrapped(self.below, width)
        lines += [f"{name.lower():<9}{len(of)} (.{name.lower()})" for name, of in self.remarks.items() if of]
        lines += [f"{label:<9}{_below_here(path)}" for label, path in self.files.items()]
        return encodable("\n".join(printable(line) for line in lines))

    def _dropped_first(self) -> list[str]:
        """The columns to leave out in a narrow terminal: from the right, those of validation images first."""
        heads = list(self.columns)[:1:-1]
        return sorted(heads, key=lambda head: not head.startswith("validation"))


class ShownAsCard:
    """A result that a notebook and a terminal show as a card. What is damaged has one with the error."""

    def _card(self) -> Card:
        raise NotImplementedError

    def _shown(self) -> Card:
        try:
            with one_line_errors():
                return self._card()
        except PneumoError as error:
            what = os.fspath(self) if isinstance(self, os.PathLike) else f"this {type(self).__name__}"
            return Card(f"{what} cannot be shown", one_line(error))

    def __repr__(self) -> str:
        return self._shown().text()

    def _repr_html_(self) -> str:
        return self._shown().html()


def _below_here(path: Path) -> Path:
    """A path relative to the working folder, where a notebook's server can deliver it; else absolute."""
    try:
        absolute, here = path.absolute(), Path.cwd()
    except FileNotFoundError:  # the working folder has been removed
        return path
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute


def _link(label: str, path: Path) -> str:
    path = _below_here(path)
    address = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    shown = f"<code>{html.escape(str(path))}</code>"
    if path.suffix:  # a browser shows a file
        shown = f'<a href="{html.escape(address)}" target="_blank" rel="noopener">{shown}</a>'
    return f"{html.escape(label)} {shown}"


class Report:
    """The report of a run or a group. In a notebook it shows itself.

    Args:
        folder: of the run or group.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """The page ``report.html``: one file that can be mailed."""
        return self._folder.report_html

    @property
    def content(self) -> dict[str, Any]:
        """The content of ``report.json`` (docs/report-json.md), in the format of this version.

        Raises:
            PneumoError: the run is not finished, or the file is damaged.
        """
        report = read_report(self._folder)
        if report is None:
            folder = self._folder.path
            if (folder / BUNDLE).is_file():
                raise PneumoError(
                    f"{folder} is an exported bundle: the results are in the run that it was made of"
                )
            raise PneumoError(f"{folder} has no report yet: pneumo resume {folder} finishes it")
        return report

    def open(self) -> None:
        """Show the page in the browser.

        Raises:
            PneumoError: there is no page.
        """
        if not self.path.is_file():
            raise PneumoError(self._missing())
        import webbrowser  # here: lists of runs do not need it

        webbrowser.open(self.path.absolute().as_uri())

    def _missing(self) -> str:
        return f"there is no page {self.path}: the run is not finished, or was started with report=False"

    def __repr__(self) -> str:
        return encodable(printable(f"Report: {self.path}" if self.path.is_file() else self._missing()))

    def _repr_html_(self) -> str:
        try:
            if self.path.stat().st_size > _LARGEST:
                return Card(f"The report is too large for a notebook: {self.path}; .open() shows it").html()
            page = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return Card(self._missing()).html()
        # Within srcdoc, links to sections would else lead to the notebook's own address.
        page = page.replace("<head>", '<head><base href="about:srcdoc">', 1)
        # An empty sandbox: a page of unknown origin runs no script, and does not reach the notebook.
        return (
            f'<iframe srcdoc="{html.escape(page)}" sandbox="" title="Report" loading="lazy" '
            f'style="width: 100%; height: {_HEIGHT}px; border: 1px solid rgba(128,128,128,.35)"></iframe>'
        )
