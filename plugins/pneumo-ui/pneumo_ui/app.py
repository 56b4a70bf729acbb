"""The application: the pages' routes, what stands before them, and what is shown when one fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

import pneumo_cli
from pneumo_cli.errors import PneumoError, with_type
from pneumo_ui import comparison, list_page, prediction_page, report_page, run_page
from pneumo_ui.loaded_models import LoadedModels
from pneumo_ui.pages import error_page
from pneumo_ui.run_index import RunIndex
from pneumo_ui.safety import Access, Guard
from pneumo_ui.state import State

if TYPE_CHECKING:
    from pneumo_cli.plugins.discovery import Plugins

_log = logging.getLogger("pneumo")
_BODY = 2**16
"""Bytes that a request's body may have, except where a route allows more."""


def create_app(folder: Path, plugins: Plugins, access: Access) -> Guard:
    """The application.

    Args:
        folder: where the runs are; it exists.
        plugins: what is installed.
        access: who may ask.
    """
    # Looked up at the first prediction: importing it takes seconds.
    models = LoadedModels(folder.absolute(), lambda *given, **named: pneumo_cli.load(*given, **named))
    state = State(folder.absolute(), plugins, RunIndex(folder), models)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        state.index.start()
        try:
            yield
        finally:
            await run_in_threadpool(state.index.close)

    app = Starlette(
        routes=routes(),
        exception_handlers={HTTPException: _missing, PneumoError: _problem, Exception: _failure},
        lifespan=lifespan,
        max_body_size=_BODY,
    )
    app.state.pneumo = state
    # Outside everything: its headers are on every answer, also of a page that fails.
    return Guard(app, access)


def routes() -> Sequence[BaseRoute]:
    """All addresses: those of each module, and the files that pages load."""
    pages = (list_page, run_page, report_page, comparison, prediction_page)
    static = Mount("/static", StaticFiles(directory=Path(__file__).with_name("static")))
    return [*(route for module in pages for route in module.routes()), static]


def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        detail = "" if error.detail == "Not Found" else error.detail
        return error_page(request, 404, "Not found", detail or "There is no such page.")
    return error_page(request, error.status_code, "Refused", error.detail)


def _problem(request: Request, error: Exception) -> Response:
    """An error with a message for the user, such as a damaged report."""
    return error_page(request, 422, "This cannot be shown", str(error))


def _failure(request: Request, error: Exception) -> Response:
    """An error that nobody has foreseen."""
    _log.error("%s failed: %s", request.url.path, with_type(error))
    return error_page(request, 500, "This page failed", with_type(error))
