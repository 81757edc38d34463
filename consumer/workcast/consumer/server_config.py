"""How uvicorn serves a gateway: its options, and what all connections share."""

from __future__ import annotations

import asyncio
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from workcast.consumer.connections import Connections, bounds
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.turns import Turns

_SHUTDOWN_SECONDS: Final = 3
_ACCEPTED_AT_ONCE: Final = 1
"""Connections accepted before the loop turns to what else is ready; each takes a descriptor before it is counted."""


class ServerConfig(uvicorn.Config):
    """How uvicorn serves a gateway, with what all of its connections share."""

    def __init__(
        self,
        app: ASGIApp,
        settings: GatewaySettings,
        http: type[asyncio.Protocol],
        stream: type[asyncio.Protocol],
    ) -> None:
        super().__init__(
            app,
            interface="asgi3",
            proxy_headers=False,  # the application sees to them, for requests alone
            log_config=None,  # as all of workcast logs: to stderr, warnings and worse
            http=http,
            ws=stream,
            ws_max_size=settings.max_message_bytes,
            ws_per_message_deflate=False,  # the stream protocol negotiates it by itself
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            server_header=False,
            backlog=_ACCEPTED_AT_ONCE,
        )
        self.settings = settings
        self.turns = Turns()
        self.connections = Connections(bounds(settings))
