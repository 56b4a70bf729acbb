"""Reports, their figures for print, and the pages of sweeps, comparisons and reproductions, as they lie in folders.

Such a page may come from anywhere: it may show itself and nothing else. It is another origin to the browser, loads
nothing, sends nothing, and of scripts only the one that pneumo writes into reports may run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.folder import RunFolder
from pneumo_ui.files import Refused, read
from pneumo_ui.state import State, state_of

if TYPE_CHECKING:
    from starlette.requests import Request

_LARGEST = 64 * 2**20  # bytes
_NAME = RunFolder(Path()).report_html.name
_FIGURE = re.compile(
    r"(?P<run>.*)/figures/(?P<name>[A-Za-z0-9_.-]{1,100}(?P<kind>\.pdf|-300dpi\.png))", re.DOTALL
)
_KINDS = {".pdf": ("application/pdf", b"%PDF-"), "-300dpi.png": ("image/png", b"\x89PNG\r\n\x1a\n")}
"""Of the figures for print: media type, and how such a file begins."""


class _Lines(Convertor[str]):
    """A path that may hold line feeds, as a folder's name may."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("lines", _Lines())


def routes() -> Sequence[BaseRoute]:
    """One address per page, as the folders lie to one another, so that links from page to page lead on."""
    return [Route("/reports/{path:lines}", report)]


def report(request: Request) -> Response:
    """A page of a folder, or a figure for print that it links."""
    state, path = state_of(request), request.path_params["path"]
    if match := _FIGURE.fullmatch(path):
        return _figure(state, match)
    file = _file(state, path)
    if file is None:
        raise HTTPException(404, f"There is no report {path[:200]}.")
    try:
        content = read(state.folder, file, _LARGEST)
    except FileNotFoundError as error:
        raise PneumoError(f"{path} is not there (yet): a run writes its report at its end") from error
    if not content.strip():
        raise PneumoError(f"{path} is empty: the program was ended while it was written, or the disk is full")
    return Response(content, media_type="text/html; charset=utf-8", headers=_headers())


def _figure(state: State, asked: re.Match[str]) -> Response:
    """A figure that a run wrote with ``--print-figures``, to be looked at or saved."""
    media_type, begin = _KINDS[asked["kind"]]
    entry = state.index.find(asked["run"])
    if entry is None:
        raise HTTPException(404)
    try:
        content = read(state.folder, RunFolder(entry.path).figures / asked["name"], _LARGEST)
    except FileNotFoundError as error:
        raise HTTPException(404, "There is no such figure.") from error
    if not content.startswith(begin):
        raise Refused(f"{asked['name']} is not what its name says")
    headers = {"Content-Disposition": f'inline; filename="{asked["name"]}"'}
    if asked["kind"] == ".pdf":  # browsers show it in a page of their own, with a plugin
        headers |= {
            "Content-Security-Policy": "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; "
            "frame-ancestors 'none'",
            "Cross-Origin-Embedder-Policy": "unsafe-none",
        }
    return Response(content, media_type=media_type, headers=headers)


def _file(state: State, path: str) -> Path | None:
    """The file of an address, if it is one that was found; an address is never made into a path."""
    folder, _, name = path.rpartition("/")
    if name == _NAME and (entry := state.index.find(folder or ".")) is not None:
        return RunFolder(entry.path).report_html
    return state.index.snapshot().pages.get(path)


def _headers() -> dict[str, str]:
    from pneumo_cli.reports.html import SCRIPT_SOURCE

    return {
        "Content-Security-Policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {SCRIPT_SOURCE}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "sandbox allow-scripts allow-top-navigation-by-user-activation",
        # A sandboxed page is refused by browsers if it asks for a group of windows of its own.
        "Cross-Origin-Opener-Policy": "unsafe-none",
    }
