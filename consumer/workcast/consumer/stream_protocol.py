"""uvicorn's WebSocket protocol, extended to write frames that were built and compressed once for all viewers.

A message compressed without context takeover is valid for every connection that negotiated ``permessage-deflate``
with a 15-bit window (RFC 7692, 7.2.3): they get the same bytes, all others get the plain frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from asyncio.transports import BaseTransport
from typing import Any, Final, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from workcast.consumer.client_log import ClientLog
from workcast.consumer.flag import Flag
from workcast.consumer.message_queue import MessageQueue
from workcast.consumer.prepared import PreparedFrame
from workcast.consumer.progress import Progress
from workcast.consumer.server_config import ServerConfig
from workcast.consumer.token_bucket import TokenBucket

FRAME_KEY: Final = "workcast.frame"
"""An extension of ASGI: in a ``websocket.send`` message, a :class:`PreparedFrame` to write as it is."""
USE_KEY: Final = "workcast.use"
"""Another one: a function of the scope, called with ``used``, whether the viewer has any subscription."""
CLOSE_TOO_MUCH: Final = 4429
CLOSE_TRY_LATER: Final = 1013
_BURST_SECONDS: Final = 4
"""Of its rates, that a viewer may send at once."""
_PIECE: Final = 1024
"""Bytes parsed before other connections have their turn: at most 170 frames."""
_FLOODED_SECONDS: Final = 1.0
"""For which a viewer that was closed may read why."""
_DISCARD_SECONDS: Final = 0.02
_PONG: Final = b"\x8a"
"""The first byte of its frame."""
_WRITE_HIGH: Final = 256 * 1024
"""Bytes in asyncio's buffer for one viewer, above which the session waits."""
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,  # no window of 32 KiB to keep for each idle viewer
    compress_settings={"level": 1, "memLevel": 5},
)
_LOG: Final = ClientLog(logging.getLogger("workcast.gateway"), {})


class StreamProtocol(WebSocketsSansIOProtocol):
    """One viewer's connection."""

    __slots__ = (  # more in its dictionary would double that
        "_bytes", "_delay", "_flooded", "_inbox", "_messages", "_ops", "_pings", "_pong", "_progress",
        "_shares_compression", "_slowed_at", "_stall_timer", "_waits",
    )  # fmt: skip
    config: ServerConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.parser.close()  # as below: uvicorn has made one, without these options
        self.conn = ServerProtocol(extensions=[_DEFLATE], max_size=self.config.ws_max_size, logger=_LOG)
        self.queue = self._messages = MessageQueue()  # type: ignore[assignment]
        self.writable = Flag()  # type: ignore[assignment]
        self.writable.set()
        now, settings = self.loop.time(), self.config.settings
        self._ops, self._bytes, self._pings = (
            TokenBucket(rate, rate * _BURST_SECONDS, now)
            for rate in (settings.max_ops_per_second, settings.max_bytes_per_second, settings.max_pings_per_second)
        )
        self._inbox = bytearray()
        """What the viewer has sent and is not parsed yet."""
        self._waits = False
        """Whether the next piece of it is parsed later."""
        self._delay: asyncio.TimerHandle | None = None
        """What it waits for, if not for its turn."""
        self._stall_timer: asyncio.TimerHandle | None = None
        """Closes the connection if the viewer takes nothing."""
        self._slowed_at: float | None = None
        """Since when the viewer has been sending too much."""
        self._flooded = False
        self._pong = b""
        """The answer to the newest ping, while the viewer has no room for it."""
        self._shares_compression = False
        """Whether the viewer can read what was compressed for all."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._progress = Progress(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._delay, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self.config.connections.leave(self.transport)
        super().connection_lost(exc)
        # Both refer to their owners: else their memory would wait for a collection, which takes longer than any event.
        self.conn.parser.close()
        cast("Any", self.transport)._read_ready_cb = None

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
        elif self._flooded:
            # What is left unread would reset the connection before the viewer has read why it was closed.
            self.transport.pause_reading()
            self.loop.call_later(_DISCARD_SECONDS, self.transport.resume_reading)
        else:
            self._inbox += data
            if self._waits:
                self.transport.pause_reading()
            elif self._slowed_at is None and len(data) <= _PIECE:
                self._parse()
            else:
                self._parse_later()

    async def receive(self) -> Any:
        while self.queue.empty():
            await self._messages.some()
        message = self.queue.get_nowait()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        if self._inbox and not self._waits and not self.read_paused:
            self._parse_later()
        return message

    def _parse(self) -> None:
        """Parse one piece of what has arrived, so that a flood takes turns with other viewers; slow it down."""
        self._waits = False
        if self.transport.is_closing() or self.read_paused:
            return  # in the latter case, receive() continues
        now = self.loop.time()
        buckets = (self._ops, self._bytes, self._pings)
        wait = max(bucket.wait(now) for bucket in buckets)
        if wait > 0:
            self._slowed_at = now if self._slowed_at is None else self._slowed_at
            if now - self._slowed_at > self.config.settings.flood_seconds:
                self._close_flooded()
                return
            self.transport.pause_reading()
            self._waits = True
            self._delay = self.loop.call_later(wait, self._parse)
            return
        if self._slowed_at is not None and all(bucket.level(now) > bucket.burst / 2 for bucket in buckets):
            self._slowed_at = None
        piece = bytes(self._inbox[:_PIECE])
        del self._inbox[:_PIECE]
        self._bytes.take(len(piece), now)
        super().data_received(piece)
        if self._inbox:
            self.transport.pause_reading()
            if not self.read_paused:
                self._parse_later()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _parse_later(self) -> None:
        self._waits = True
        self.config.turns.call(self._parse)

    def _note_use(self, used: bool) -> None:
        if used:
            self.config.connections.speak(self.transport)
        else:
            self.config.connections.idle(self.transport, self)

    def give_way(self) -> None:
        """Close, because another connection needs the place and this viewer has no subscription."""
        self._close_now(CLOSE_TRY_LATER, "another connection needs the place; this one had no subscription")
        self.transport.close()

    def _close_flooded(self) -> None:
        self._flooded = True
        self._inbox.clear()
        self._close_now(CLOSE_TOO_MUCH, "too many messages, bytes or pings a second")
        self.transport.resume_reading()

    def _close_now(self, code: int, reason: str) -> None:
        """Close with a code, and drop the connection a moment later, whatever the viewer does."""
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        with contextlib.suppress(InvalidState):  # closed already
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(_FLOODED_SECONDS, self.transport.abort)

    def handle_cont(self, event: Frame) -> None:
        self._ops.take(1, self.loop.time())
        super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        self._ops.take(1, self.loop.time())
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._ops.take(1, self.loop.time())
        super().handle_bytes(event)

    def handle_pong(self, event: Frame) -> None:
        self._pings.take(1, self.loop.time())
        super().handle_pong(event)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast("dict[str, Any]", self.scope)["extensions"] |= {FRAME_KEY: {}, USE_KEY: self._note_use}
            self._note_use(used=False)
            self._shares_compression = any(map(_is_shareable, self.conn.extensions))

    def handle_ping(self) -> None:
        self._pings.take(1, self.loop.time())
        if self.writable.is_set():
            super().handle_ping()
            return
        # A viewer that pings and does not read would fill the memory; only the newest ping needs an answer
        # (RFC 6455, 5.5.3). Besides pongs, the answer to a close may wait here.
        for data in self.conn.data_to_send():
            if data[:1] == _PONG:
                self._pong = data
            else:
                self.transport.write(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_progress()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self._watch_progress()  # the connection ends once the viewer has taken what is left

    def keepalive_timeout(self) -> None:
        if self._progress.unsent and self._progress.made():  # the ping may not have reached it yet
            self.pong_timer = self.loop.call_later(cast("float", self.ping_timeout), self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self.loop.call_later(_FLOODED_SECONDS, self.transport.abort)

    def _watch_progress(self) -> None:
        """Check from time to time that the viewer takes what is sent, until all of it is."""
        if self._stall_timer is None:
            self._progress.made()
            self._stall_timer = self.loop.call_later(self.config.settings.answer_timeout, self._check_progress)

    def _check_progress(self) -> None:
        self._stall_timer = None
        if not self._progress.made():
            self.transport.abort()
        elif self._progress.unsent or self.transport.is_closing():
            self._watch_progress()

    def resume_writing(self) -> None:
        self._progress.resumed = True
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong and not self.close_sent and not self.transport.is_closing():
            self.transport.write(pong)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(b"".join(self.frames)):
            # As uvicorn does, but without a traceback in the log for what any client may send.
            self.frames = []
            with contextlib.suppress(InvalidState):  # the viewer has closed already
                self.conn.send_close(1007)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        # No check of the type: isinstance with a protocol computes each of its properties, so deflates each frame.
        if self.handshake_complete and self.transport.is_closing():
            raise ClientDisconnected  # a lost connection is never full: all would be written, and logged by asyncio
        frame: PreparedFrame | None = message.get(FRAME_KEY)
        if frame is None or self.close_sent or not self.handshake_complete:
            await super().send(message)
            if message["type"] == "websocket.http.response.body" and self.close_sent:
                self.handshake_complete = True  # refused; uvicorn would report that the application did not answer
            elif message["type"] == "websocket.accept":
                self.request.headers.clear()  # websockets keeps the request
                del self.request, self.response, self.scope
                self.server = self.client = None
                self.__dict__ = {**self.__dict__}  # half as large, as it does not grow any more
            return
        await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        self.transport.write(frame.deflated if self._shares_compression else frame.plain)


def _is_shareable(extension: Extension) -> bool:
    """Whether messages need no context and the window has 15 bits, as in the frames that are compressed once."""
    if not isinstance(extension, PerMessageDeflate):
        return False
    settings = cast("Any", extension)
    return bool(settings.local_no_context_takeover and settings.local_max_window_bits == 15)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
