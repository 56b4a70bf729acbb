"""``report.html``: the report as one file that opens anywhere: no network, no scripts, no other files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Document
from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.reports.images import embedded

_WIDE = 1000
"""Pixels from which on a figure was drawn for the width of a page, not of a column."""


def render_html(report: Mapping[str, Any], folder: Path) -> str:
    """Render a report as one self-contained HTML page.

    Args:
        report: what ``report.json`` holds; every part may be absent.
        folder: the run folder; the figures that the report names are read from it and embedded. One that does
            not lie in it as a PNG file is named as missing.

    Returns:
        The page. Whatever it quotes is escaped, and its content security policy forbids scripts and network.
    """
    return render_document(document(report), folder)


def render_document(page: Document, folder: Path) -> str:
    """Render a document as :func:`render_html` does; its pictures are read from ``folder``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pneumo_cli.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        page=page,
        disclaimer=DISCLAIMER,
        picture=lambda file: embedded(folder, file),
        kind=lambda block: type(block).__name__,
        wide=_WIDE,
    )
