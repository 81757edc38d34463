"""The WebSockets of a gateway: a plain ASGI layer, for the routes' own layers keep 20 coroutines alive a viewer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from workcast.consumer.guard import refuse
from workcast.consumer.hub import Hub
from workcast.consumer.protocol import SUBPROTOCOL
from workcast.consumer.session import Session
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.stream_protocol import CLOSE_TOO_MUCH
from workcast.consumer.transport import SocketTransport

_PATH: Final = "/api/stream"


class Streams:
    """ASGI middleware that serves WebSockets, and leaves everything else to the application."""

    def __init__(self, app: ASGIApp, hub: Hub, settings: GatewaySettings) -> None:
        self._app = app
        self._hub = hub
        self._max_viewers = settings.max_viewers
        self._limits = settings.limits()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "websocket":
            return self._app(scope, receive, send)
        if scope["path"] != _PATH:
            return refuse(404, f"the only WebSocket here is {_PATH}", scope, receive, send)
        return self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        transport = SocketTransport(scope, receive, send)
        if not await transport.accept(SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None):
            return
        del scope, receive, send  # headers, which would be kept as long as the viewer stays
        if len(self._hub.metrics.viewers) >= self._max_viewers:
            await transport.close(CLOSE_TOO_MUCH, f"{self._max_viewers} viewers are connected already")
            return
        await Session(transport, self._hub, self._limits).run()
