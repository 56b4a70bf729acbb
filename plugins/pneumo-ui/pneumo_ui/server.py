"""The server: binding its port, and answering until it is stopped."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from pneumo_cli.errors import UsageError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONNECTIONS = 100
_HEADERS = 2**15  # bytes
_HEADER_SECONDS = 10.0
_IDLE_SECONDS = 15
_END_SECONDS = 2


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        port: 0: any that is free.

    Raises:
        UsageError: the port is in use or not allowed, or the host is none of this machine.
    """
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host} is no address or name of this machine") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_CONNECTIONS)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {host} is in use, perhaps by another pneumo ui: choose another one with --port, "
                "or any that is free with --port 0"
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {host} is no address or name of this machine") from error
        raise UsageError(f"port {port} of {host} cannot be used: {error.strerror}") from error
    return listening


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        _ended_with_an_answer(app),
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        log_level="critical",  # the application has logged what failed
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_END_SECONDS,
        h11_max_incomplete_event_size=_HEADERS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _ended_with_an_answer(app: ASGIApp) -> ASGIApp:
    """The application; requests that are cancelled, as the server ends, get an answer if they have none yet."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await app(scope, receive, noted)
        except asyncio.CancelledError:
            if scope["type"] == "http" and not begun:
                await PlainTextResponse("The server was stopped.\n", 503)(scope, receive, send)

    return answer


class _Protocol(H11Protocol):
    """Ends connections whose headers do not arrive in time; uvicorn waits for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:  # the headers of the next request are not complete
            self._await_headers()
        elif self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(_HEADER_SECONDS, self.transport.close)
