"""The HTTP server under a gateway: uvicorn, its listening socket, and the end of its connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Generator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from workcast.consumer.errors import ServeError
from workcast.consumer.http_protocol import HttpProtocol
from workcast.consumer.server_config import ServerConfig
from workcast.consumer.settings import GatewaySettings
from workcast.consumer.stream_protocol import StreamProtocol

_OPEN_FILES: Final = 65_536
_BACKLOG: Final = 2048
_CLOSING_SECONDS: Final = 2.0
"""How long a viewer may take to read its last messages; less than uvicorn waits for all."""


def server_config(app: ASGIApp, settings: GatewaySettings) -> ServerConfig:
    """Return how uvicorn serves a gateway."""
    return ServerConfig(app, settings, HttpProtocol, StreamProtocol)


class Server(uvicorn.Server):
    """uvicorn without its own signal handling, which would raise the signal again, past our clean-up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)  # asyncio has set it to the number of connections that it accepts at once
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_CLOSING_SECONDS, self._abort_connections)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _abort_connections(self) -> None:
        """Drop the connections whose clients do not read: what is left for them would never drain."""
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    def stop(self) -> None:
        """End cleanly; at the second call, at once."""
        if self.should_exit:
            self.force_exit = True
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would log all that it cut short
        self.should_exit = True


@contextlib.contextmanager
def listen(host: str, port: int) -> Generator[socket.socket]:
    """Yield a listening socket, bound before anything else is started.

    Raises:
        ServeError: the address cannot be bound.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)  # create_server's own message ends in a Python tuple
        reason = os.strerror(number) if number and not isinstance(error, socket.gaierror) else error.args[-1]
        raise ServeError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from error
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def allow_many_files() -> None:
    """Raise the soft limit of open files, up to 65,536: each viewer needs one, and the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
