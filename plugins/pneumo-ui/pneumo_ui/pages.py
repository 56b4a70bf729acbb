"""Rendering the templates. Everything that a template inserts is escaped."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

from pneumo_cli.reports.formatting import DISCLAIMER
from pneumo_cli.runtime.json_values import finite
from pneumo_cli.runtime.streams import printable
from pneumo_ui.state import state_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from starlette.requests import Request

_LONGEST, _BEGIN = 60, 36
"""Characters of a name in a table, and how many of them are its beginning."""
NAVIGATION = (("/", "Runs"), ("/compare", "Compare"), ("/predict", "Predict"))


def page(
    request: Request, template: str, *, active: str = "", status: int = 200, **values: Any
) -> HTMLResponse:
    """A page from a template that extends ``base.html``.

    Args:
        active: the address in the navigation that the page belongs to.
        values: for the template.
    """
    return HTMLResponse(rendered(request, template, active=active, **values), status)


def rendered(request: Request, template: str, **values: Any) -> str:
    """A template as text: a page, or a part of one."""
    state = state_of(request)
    return (
        _environment()
        .get_template(template)
        .render(navigation=NAVIGATION, folder=str(state.folder), disclaimer=DISCLAIMER, **values)
    )


def error_page(request: Request, status: int, title: str, message: str) -> HTMLResponse:
    """A page that says what is wrong."""
    return page(request, "error.html", status=status, title=title, message=message)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"exact": _exact, "short": _short}
    environment.filters["json"] = lambda value: json.dumps(finite(value), allow_nan=False)
    return environment


def _shown(value: Any) -> Any:
    """Text without control characters and lone surrogates: a name from a disk may hold any."""
    return printable(value) if type(value) is str else value


def _exact(value: str) -> Markup:
    """An attribute that comes back to the server as it is. HTML reads a carriage return as a line feed."""
    from markupsafe import Markup, escape

    return Markup(escape(value).replace("\r", Markup("&#13;")))  # noqa: S704 (it is escaped)


def _short(name: str) -> str:
    """A name of at most :data:`_LONGEST` characters: without its middle if it is longer."""
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[:_BEGIN]}…{name[_BEGIN + 1 - _LONGEST :]}"
