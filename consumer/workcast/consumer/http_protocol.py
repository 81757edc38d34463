"""uvicorn's HTTP protocol, extended to close connections whose clients send no request, or take no answer."""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import Transport
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from workcast.consumer.client_log import ClientLog
from workcast.consumer.progress import Progress
from workcast.consumer.server_config import ServerConfig

_NO_PLACE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n"
    b"connection: close\r\n\r\nToo many connections; close some, or try again later.\n"
)
_SEND_BUFFER: Final = 128 * 1024
"""The kernel's, for one client: without a bound, 4 MB (measured) wait there for a client that does not read."""
_GOING_SECONDS: Final = 1.0
"""For which a client may read the answer to a request whose body has not come; then what it sends resets it."""


class HttpProtocol(H11Protocol):
    """One connection of a client, until it becomes a WebSocket."""

    config: ServerConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = ClientLog(self.logger, {})  # type: ignore[assignment]
        self._overdue: asyncio.TimerHandle | None = None
        """Closes the connection if the client neither sends the rest of a request nor takes that of an answer."""
        self._owes_request = True

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Find a place for the connection, and switch off Nagle's algorithm.

        With it, the second packet of an answer waits for a delayed ACK, some 40 ms. asyncio switches it off only for
        sockets that were made with an explicit protocol number, which ours are not.
        """
        super().connection_made(transport)
        self._progress = Progress(transport)
        if not self.config.connections.enter(transport, self):
            transport.write(_NO_PLACE)
            transport.close()
            return
        peer: socket.socket | None = transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.config.connections.leave(self.transport)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._check_request()

    def on_response_complete(self) -> None:
        if not self.transport.is_closing():
            self._owes_request = True
            self._restart_timer()
            self.config.connections.wait(self.transport, self)
            if (
                self.conn.their_state is h11.SEND_BODY
            ):  # nothing here needs a body: the client reads its answer, and goes
                self.flow.pause_reading()
                self.loop.call_later(_GOING_SECONDS, self.transport.abort)
                return
        super().on_response_complete()
        self._check_request()  # the next one may have arrived already

    def resume_writing(self) -> None:
        self._progress.resumed = True
        super().resume_writing()

    def _check_request(self) -> None:
        """Stop waiting for the client once its request is whole."""
        if self.transport.get_protocol() is self and self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._owes_request = False
            self._restart_timer()
            self.config.connections.speak(self.transport)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_timer()
        self.config.connections.speak(self.transport)
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state is not h11.IDLE:
            self.cycle.disconnected = True  # its request is malformed from here on: it may not answer any more
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # an answer to an earlier request has been begun
            self.transport.close()

    def give_way(self) -> None:
        self._stop_timer()
        self.transport.abort()

    def _restart_timer(self) -> None:
        self._stop_timer()
        settings = self.config.settings
        seconds = settings.answer_timeout if self._progress.unsent else settings.request_timeout
        self._overdue = self.loop.call_later(seconds, self._check_progress, self._progress.unsent)

    def _check_progress(self, unsent: int) -> None:
        """Close the connection unless the client has taken something, or is owed something by us."""
        if self._progress.made() if unsent else not self._owes_request:
            self._restart_timer()
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
