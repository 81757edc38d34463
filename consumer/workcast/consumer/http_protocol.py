"""uvicorn's HTTP protocol, extended to close connections whose clients owe a request for too long."""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import Transport
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from workcast.consumer.client_log import ClientLog
from workcast.consumer.server_config import ServerConfig

_NO_PLACE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n"
    b"connection: close\r\n\r\nToo many connections; close some, or try again later.\n"
)


class HttpProtocol(H11Protocol):
    """One connection of a client, until it becomes a WebSocket."""

    config: ServerConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = ClientLog(self.logger, {})  # type: ignore[assignment]
        self._overdue: asyncio.TimerHandle | None = None
        """Closes the connection, while the client owes a request or the rest of one."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Find a place for the connection, and switch off Nagle's algorithm.

        With it, the second packet of an answer waits for a delayed ACK, some 40 ms. asyncio switches it off only for
        sockets that were made with an explicit protocol number, which ours are not.
        """
        super().connection_made(transport)
        if not self.config.connections.enter(transport, self):
            transport.write(_NO_PLACE)
            transport.close()
            return
        peer: socket.socket | None = transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
            self._restart_timer()
            self.config.connections.wait(self.transport, self)
        super().on_response_complete()
        self._check_request()  # the next one may have arrived already

    def _check_request(self) -> None:
        """Stop waiting for the client once its request is whole."""
        if self.transport.get_protocol() is self and self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_timer()
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
        self._overdue = self.loop.call_later(self.config.settings.request_timeout, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
