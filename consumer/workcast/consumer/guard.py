"""The guard: admits only requests that name this server and come from its own pages, and sets security headers.

A plain ASGI layer, because it must see WebSocket upgrades before they are accepted: a page of any site can open a
socket to a server on the loopback interface, and a host name of that site can be made to resolve to it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))

CONTENT_SECURITY_POLICY: Final = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'",
    "font-src 'self'", "manifest-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types 'none'",
))  # fmt: skip
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_LIVE: Final = ("/api/", "/healthz", "/metrics")
"""Paths whose answers change at any time, and show what agents do: no cache keeps them."""


def refusal(headers: Headers, hosts: frozenset[str]) -> str | None:
    """Return why a request with these headers is refused; None if it is admitted.

    ``hosts`` are the names of this server, in lower case and without a port. A request without an Origin does not come
    from a browser.
    """
    given = headers.getlist("host")
    host = given[0].lower() if len(given) == 1 else ""
    match = _HOST.fullmatch(host)
    if match is None or match["name"].strip("[]") not in hosts:
        return f"expected one Host among {', '.join(sorted(hosts))}, got {', '.join(given)[:200]!r}"
    origins = headers.getlist("origin")
    if any(origin.lower() not in (f"http://{host}", f"https://{host}") for origin in origins):
        return f"expected no Origin or that of {host}, got {', '.join(origins)[:200]!r}"
    return None


class Guard:
    """ASGI middleware around the whole application; it is no coroutine, which would live as long as a viewer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] not in ("http", "websocket"):
            return self._app(scope, receive, send)
        reason = refusal(Headers(scope=scope), self._hosts)
        if reason is not None:
            return refuse(403, reason, scope, receive, send)
        if scope["type"] == "websocket":  # once accepted, it has no headers
            return self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if scope["path"].startswith(_LIVE):
                    headers["cache-control"] = "no-store"
            await send(message)

        return self._app(scope, receive, send_with_headers)


async def refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket's handshake, with a line of text."""
    response = PlainTextResponse(reason + "\n", status, headers={**_HEADERS, "cache-control": "no-store"})
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    await receive()  # websocket.connect; an HTTP answer: the socket never opens
    await send({"type": "websocket.http.response.start", "status": status, "headers": response.raw_headers})
    await send({"type": "websocket.http.response.body", "body": response.body})
