"""``report.html``: the report as one self-contained file, without scripts, network access or other files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Document
from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.reports.images import embedded

if TYPE_CHECKING:
    from jinja2 import Template

_WIDE = 1000
"""Pixels; figures at least as wide were drawn for the width of a page, others for that of a column."""


def render_html(report: Mapping[str, Any], folder: Path) -> str:
    """Render a report as one self-contained HTML page.

    Args:
        report: the contents of ``report.json``; any part may be absent.
        folder: the run folder, whose figures are embedded. One that is no PNG file in it is listed as missing.

    Returns:
        The page. Quoted text is escaped, and the content security policy forbids scripts and network access.
    """
    return render_document(document(report), folder)


def render_document(page: Document, folder: Path) -> str:
    """Render a document as :func:`render_html` does, with the figures in ``folder``."""
    return _template().render(
        page=page,
        disclaimer=DISCLAIMER,
        picture=lambda file: embedded(folder, file),
        kind=lambda block: type(block).__name__,
        wide=_WIDE,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pneumo_cli.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
