"""The Sphinx extension of this site: writes the pages that are made from the code, and rewrites links for the site.

``pages.py`` says which pages are made. None of them is committed; ``docs/objects.md`` and ``docs/report-json.md``,
which GitHub shows too, are, and tests hold them to the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = Path(__file__).parents[3]
DOCS = REPOSITORY / "docs"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect with Sphinx."""
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _rewrite_links)
    app.connect("autodoc-process-signature", _without_signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(_: Sphinx) -> None:
    from pneumo_cli.plugins.discovery import discover
    from pneumo_docs.pages import made_pages, write_pages

    write_pages(made_pages(discover()), DOCS)


def _rewrite_links(app: Sphinx, name: str, source: list[str]) -> None:
    from pneumo_docs.links import for_site
    from pneumo_docs.pages import MADE_FOLDERS

    if not name.startswith(MADE_FOLDERS):  # their links are those of the site
        page = Path(app.env.doc2path(name)).relative_to(REPOSITORY)
        source[0] = for_site(source[0], page.parent.as_posix(), page.parent.as_posix())


def _without_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: Any, returned: Any
) -> tuple[str, str] | None:
    """No signature for settings: each field is a row of a table in the pages of commands."""
    return ("", "") if what == "class" and hasattr(value, "model_fields") else None
