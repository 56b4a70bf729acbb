"""The list of all runs below the folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from pneumo_ui.pages import page, rendered
from pneumo_ui.run_table import COLUMNS, STATES, Query, run_table
from pneumo_ui.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request


def routes() -> Sequence[BaseRoute]:
    """The list, and the part of it that changes."""
    return [Route("/", runs), Route("/runs", changing)]


def runs(request: Request) -> Response:
    """The page."""
    query = Query.of(request.query_params.multi_items())
    snapshot = state_of(request).index.snapshot()
    return page(
        request,
        "runs.html",
        active="/",
        query=query,
        states=STATES,
        columns=COLUMNS,
        snapshot=snapshot,
        table=run_table(snapshot, query),
    )


def changing(request: Request) -> Response:
    """The list without the page around it, which asks for it every few seconds; or "not modified"."""
    query = Query.of(request.query_params.multi_items())
    snapshot = state_of(request).index.snapshot(patience=0)
    tag = hashlib.sha256(f"{snapshot.version} {query}".encode("utf-8", "replace")).hexdigest()[:24]
    headers = {"ETag": f'"{tag}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    content = rendered(
        request,
        "run_list.html",
        query=query,
        columns=COLUMNS,
        snapshot=snapshot,
        table=run_table(snapshot, query),
    )
    return HTMLResponse(content, headers=headers)
