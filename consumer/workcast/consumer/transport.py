"""A session's transport: a WebSocket as a session needs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from workcast.consumer.prepared import PreparedFrame
from workcast.consumer.stream_protocol import FRAME_KEY, USE_KEY


class Transport(Protocol):
    """A message is sent once the socket has room for the next; ConnectionError is raised if the viewer is gone."""

    async def send(self, text: str) -> None:
        """Send one text message."""
        ...

    async def send_frame(self, frame: PreparedFrame) -> None:
        """Send a message that was prepared for many viewers."""
        ...

    async def receive(self) -> str | bytes | None:
        """Return the next message, or None once the viewer is gone."""

    async def close(self, code: int, reason: str) -> None: ...

    def note_use(self, *, used: bool) -> None:
        """Note whether the viewer has any subscription: without one, it may have to give way to another."""


class SocketTransport:
    """A WebSocket of ASGI."""

    __slots__ = ("_note_use", "_put", "_receive", "_takes_frames")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._put = receive, send
        self._takes_frames = FRAME_KEY in scope["extensions"]
        self._note_use: Callable[..., None] | None = scope["extensions"].get(USE_KEY)

    async def accept(self, subprotocol: str | None) -> bool:
        """Complete the handshake; False if the viewer is gone."""
        try:
            await self._send({"type": "websocket.accept", "subprotocol": subprotocol})
        except ConnectionError:
            return False
        return True

    async def send(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def send_frame(self, frame: PreparedFrame) -> None:
        if self._takes_frames:
            await self._send({"type": "websocket.send", FRAME_KEY: frame})
        else:
            await self.send(frame.text)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._put(message)
        except (OSError, RuntimeError) as error:
            raise ConnectionError("the viewer is gone") from error

    async def receive(self) -> str | bytes | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        return text if text is not None else bytes(message["bytes"])

    async def close(self, code: int, reason: str) -> None:
        with contextlib.suppress(ConnectionError):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def note_use(self, *, used: bool) -> None:
        if self._note_use is not None:
            self._note_use(used=used)
