"""What stands before every page: who may ask, what a page may do, and how long a request may take.

A page on another site can make a browser send requests to this server, also by a name of its own that leads to this
machine (DNS rebinding). So the Host that the browser names must be one of this server, and whatever is no GET must
come from a page of this server. Without a token only this machine can reach it.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
_PART_SECONDS, _BODY_SECONDS = 20.0, 120.0
"""How long a part of a request's body may take to arrive, and the whole of it."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Listening on all addresses, and which of them a browser on this machine uses."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or name that a server listens on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        host: the address or name that the server listens on.
        port: its port.
        token: what a browser must know; empty: nothing.
    """

    host: str
    port: int
    token: str = ""

    @property
    def cookie(self) -> str:
        """The name of the cookie. Cookies know no ports, so that of another server would be replaced."""
        return f"pneumo-ui-{self.port}"

    def address(self) -> str:
        """The address to open in a browser on this machine, with the token."""
        name = _EVERYWHERE.get(self.host, self.host)
        shown = f"[{name}]" if ":" in name else name
        return f"http://{shown}:{self.port}/" + (f"?{urlencode({'token': self.token})}" if self.token else "")

    def is_own(self, host: str) -> bool:
        """Whether a Host header names this server.

        The port of a loopback name may be another one, as of an SSH tunnel: the names of other sites are what
        matters. A server that listens on all addresses is named by any address, or by the machine's name.
        """
        name, port = _split(host)
        if name in _LOOPBACK:
            return True
        if port != str(self.port):
            return False
        if name == self.host.lower():
            return True
        if self.host not in _EVERYWHERE:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in {socket.gethostname().lower(), socket.getfqdn().lower()}
        return True

    def is_token(self, given: str) -> bool:
        """Whether it is the token; takes as long for a wrong one."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def _split(host: str) -> tuple[str, str]:
    """Name and port of a Host header; an IPv6 address without its brackets."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = host, "80"
    return name.removeprefix("[").removesuffix("]").lower(), port or "80"


class Guard:
    """Refuses requests that are not for this server or not from its pages, and gives answers their headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no page uses a WebSocket
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith("/static/"):
                    headers.setdefault(
                        "Cache-Control", "no-cache"
                    )  # asked for again, and mostly not sent again
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        ends: float | None = None
        clock = asyncio.get_running_loop().time

        async def receive_in_time() -> Message:
            nonlocal ends
            if scope["method"] in ("GET", "HEAD"):  # then it waits for the end of the connection
                return await receive()
            ends = ends or clock() + _BODY_SECONDS
            async with asyncio.timeout_at(min(ends, clock() + _PART_SECONDS)):
                return await receive()

        answer = self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, send_guarded)
            return
        # What fails has been logged, and has given an answer, when it arrives here.
        with suppress(Exception):
            await self._app(scope, receive_in_time, send_guarded)

    def _refusal(self, scope: MutableMapping[str, Any]) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.is_own(hosts[0]):
            return _refused(
                421, "This server does not answer for that name. Use the address that pneumo ui printed."
            )
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{hosts[0]}":
            return _refused(403, "This request does not come from a page of this server.")
        return self._without_token(scope, headers) if self._access.token else None

    def _without_token(self, scope: MutableMapping[str, Any], headers: Headers) -> Response | None:
        """The answer to a request that does not know the token; or that gives it, which a cookie then keeps."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"))
        given = dict(pairs).get("token", "")
        if given and self._access.is_token(given) and scope["method"] == "GET":
            others = [pair for pair in pairs if pair[0] != "token"]
            # "//evil.example" would be another site.
            where = "/" + scope["path"].lstrip("/\\")
            answer = RedirectResponse(where + (f"?{urlencode(others)}" if others else ""), 303)
            # "lax": reports are origins of their own, and their links to other reports would come without it if
            # "strict". Requests that are no GET are held by their Origin.
            answer.set_cookie(
                self._access.cookie, given, httponly=True, samesite="lax", path="/", max_age=30 * 86400
            )
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if any(map(self._access.is_token, (bearer, _cookie(headers, self._access.cookie)))):
            return None
        return _refused(
            401, "This page needs its token: open the whole address, with ?token=…, that pneumo ui printed."
        )


def _cookie(headers: Headers, name: str) -> str:
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    return next((value for key, _, value in pairs if key == name), "")


def _refused(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status)
