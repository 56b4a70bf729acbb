"""Receiving images that are to be predicted, within a bounded number of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pneumo_cli.errors import PneumoError

if TYPE_CHECKING:
    from starlette.requests import Request

MOST = 512 * 2**20
"""Bytes of all images that are being received or wait for their turn."""


class Busy(PneumoError):
    """There is no room for another image at the moment."""


class Uploads:
    """The images that are in memory. Each counts with the bytes that have arrived, so that a slow one holds few."""

    def __init__(self) -> None:
        self.held = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts until the block ends.

        Raises:
            Busy: there is no room. It is raised at the end of the body, which is thrown away: a browser that is
                still sending would see no answer.
        """
        parts: list[bytes] = []
        own, refused = 0, False
        try:
            async for part in request.stream():
                refused = refused or self.held + len(part) > MOST
                if refused:
                    parts.clear()
                    self.held, own = self.held - own, 0
                else:
                    parts.append(part)
                    self.held, own = self.held + len(part), own + len(part)
            if refused:
                raise Busy("many images are waiting already: try again in a few seconds")
            content = b"".join(parts)
            parts.clear()
            yield content
        finally:
            self.held -= own
