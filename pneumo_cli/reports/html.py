"""``report.html``: the report as one self-contained file, without network access or other files.

The page is complete without scripts. One small script (``templates/report.js``), the only one that the content
security policy allows, sorts and searches long tables, shows the values of lines, and stops animations.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.reports.content import document
from pneumo_cli.reports.document import Document
from pneumo_cli.reports.figures.style import print_files
from pneumo_cli.reports.formatting import DISCLAIMER, typeset
from pneumo_cli.reports.images import Picture, embedded, inside
from pneumo_cli.runtime.streams import with_visible_controls

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_SCRIPT = files("pneumo_cli.reports").joinpath("templates/report.js").read_text("utf-8")
SCRIPT_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
"""The page's own script, as a content security policy allows it."""

_WIDE = 1000
"""Pixels; figures at least as wide were drawn for the width of a page, others for that of a column."""
_PRINTED = "Figures for print: with --print-figures, a run writes each as PDF and at 300 dpi too."
_LONG_WORD = 24
"""Letters of a name that is not wrapped; in tables of many columns fewer."""


def render_html(
    report: Mapping[str, Any], folder: Path, pictures: Mapping[str, Picture | None] | None = None
) -> str:
    """Render a report as one self-contained HTML page.

    Args:
        report: the contents of ``report.json``; any part may be absent.
        folder: the run folder, whose figures are embedded. One that is no PNG file in it is listed as missing.
        pictures: figures that need not be read and encoded once more, by file.

    Returns:
        The page. Quoted text is escaped, and the content security policy forbids network access and all scripts
        but the page's own.
    """
    printed = any((folder / "figures").glob("*.pdf"))
    return render_document(document(report), folder, remark="" if printed else _PRINTED, pictures=pictures)


def render_document(
    page: Document, folder: Path, *, remark: str = "", pictures: Mapping[str, Picture | None] | None = None
) -> str:
    """Render a document as :func:`render_html` does, with the figures in ``folder`` and a remark at the end."""
    from markupsafe import Markup

    known = pictures or {}

    rendered = _template().render(
        page=page,
        remark=remark,
        disclaimer=DISCLAIMER,
        picture=cache(lambda file: known.get(file) or embedded(folder, file)),
        prints=lambda file: _prints(folder, file),
        kind=lambda block: type(block).__name__,
        widest=_WIDE,
        source=SCRIPT_SOURCE,
        script=Markup(_SCRIPT),  # noqa: S704 - a file of this package
    )
    return with_visible_controls(rendered)


def _prints(folder: Path, file: str) -> list[tuple[str, str]]:
    """The files for print of a figure, relative to the page, with their kinds."""
    path = inside(folder, file)
    found = print_files(path) if path else {}
    return [
        (Path(file).with_name(each.name).as_posix(), kind) for kind, each in found.items() if each.is_file()
    ]


def _breakable(text: str, longest: int = _LONG_WORD) -> Markup:
    """Text whose long words, such as names of files, may be broken after a separator."""
    from markupsafe import Markup, escape

    words = re.split(r"(\s+)", text)
    parts = [re.split(r"(?<=[/\\_=-])", word) if len(word) > longest else [word] for word in words]
    return Markup("").join(Markup("<wbr>").join(map(escape, part)) for part in parts)


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
    environment.filters |= {"typeset": typeset, "breakable": _breakable}
    return environment.get_template("report.html")
