"""Viewers over real sockets that lose their connection, reconnect, stop reading, and record their histories."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from support.history_checker import Connected, Entry, Requested

_RECEIVE_BUFFER: Final = 4096
"""Bytes of the kernel's buffer: small, so that a viewer that stops reading soon has a full socket."""
_OPEN_SECONDS: Final = 3.0

Place = str | dict[str, int]


class SocketViewer:
    """One client. It connects to any of the gateways and resumes at its cursors after each disconnect."""

    def __init__(self, ports: Sequence[int], first: dict[str, Place], random: Random) -> None:
        self.history: list[Entry] = []
        self.cursors: dict[str, dict[str, int]] = {}
        self.live: set[str] = set()
        """Workcells for which it got ``live`` since the last answer."""
        self._ports = ports
        self._first = first
        self._random = random
        self._socket: ClientConnection | None = None
        self._answered: set[str] = set()
        self._paused: set[str] = set()
        self._reading = asyncio.Event()
        self._present = asyncio.Event()
        self._reading.set()
        self._present.set()
        self._task = asyncio.create_task(self._watch())

    @property
    def workcells(self) -> list[str]:
        return sorted(self._first)

    def is_at(self, workcell: str, epoch: int, end: int) -> bool:
        """Whether it is live at this epoch and cursor."""
        return workcell in self.live and self.cursors.get(workcell) == {"epoch": epoch, "offset": end}

    # ── actions ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def freeze(self) -> None:
        """Stop reading, so that all buffers on the way fill up."""
        self._reading.clear()

    def thaw(self) -> None:
        self._reading.set()

    def vanish(self) -> None:
        """Disconnect abruptly, until :meth:`return_`."""
        self._present.clear()
        self._abort()

    def return_(self) -> None:
        self._present.set()

    def lose_the_connection(self) -> None:
        """Abort the connection; the viewer reconnects at once with its cursors."""
        self._abort()

    async def subscribe(self, workcell: str, place: Place | None) -> None:
        """Replace the subscription; without a place, by one at the cursor."""
        await self._request(workcell, place or self.cursors.get(workcell) or self._first[workcell])

    async def leave_and_subscribe(self, workcell: str) -> None:
        """Unsubscribe, and subscribe again at the cursor."""
        await self._send({"op": "unsubscribe", "workcell": workcell})
        await self.subscribe(workcell, None)

    async def pause(self, workcell: str) -> None:
        """Stop following: receive heads only."""
        if workcell in self._answered:
            self._paused.add(workcell)
            await self._send({"op": "follow", "workcell": workcell, "follow": False})

    async def follow(self, workcell: str) -> None:
        """Follow again from the cursor."""
        if workcell in self._paused and workcell in self._answered:
            self._paused.discard(workcell)
            cursor = self.cursors[workcell]
            self._record(workcell, cursor)
            await self._send({"op": "follow", "workcell": workcell, "follow": True, **cursor})

    async def act(self) -> None:
        """Do one of these actions at random, in one of its workcells."""
        workcell = self._random.choice(self.workcells)
        match self._random.randrange(12):
            case 0 | 1:
                self.freeze()
            case 2 | 3:
                self.thaw()
            case 4:
                self.vanish()
            case 5:
                self.return_()
            case 6:
                self.lose_the_connection()
            case 7:
                await self.subscribe(workcell, self._random.choice(("start", "tail", {"last": 5}, None)))
            case 8:
                await self.leave_and_subscribe(workcell)
            case 9:
                await self.pause(workcell)
            case _:
                await self.follow(workcell)

    async def settle(self) -> None:
        """Connect, read, and follow everything."""
        self.return_()
        self.thaw()
        for workcell in sorted(self._paused):
            await self.follow(workcell)

    async def leave(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    # ── connections ──────────────────────────────────────────────────────────────────────────────────────────────────
    async def _watch(self) -> None:
        while True:
            await self._present.wait()
            try:
                await self._connect()
                await self._receive()
            except (OSError, TimeoutError, WebSocketException):
                await asyncio.sleep(self._random.uniform(0.02, 0.2))  # backoff, as any client should
            finally:
                self._abort()

    async def _connect(self) -> None:
        port = self._random.choice(self._ports)
        # The buffer must be set before connecting: the window is negotiated then.
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        plain.setblocking(False)  # noqa: FBT003
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
                made = await connect(
                    f"ws://127.0.0.1:{port}/api/stream",
                    sock=plain,
                    compression=self._random.choice(("deflate", None)),
                    max_queue=1,
                    max_size=None,
                    ping_interval=None,
                )
        except BaseException:
            plain.close()
            raise
        self.history.append(Connected())
        self._answered.clear()
        self._paused.clear()
        self.live.clear()
        self._socket = made
        for workcell in self.workcells:
            await self.subscribe(workcell, None)

    async def _receive(self) -> None:
        while (made := self._socket) is not None:
            await self._reading.wait()
            text = await made.recv()
            assert isinstance(text, str)
            self.history.append(text)
            self._take(json.loads(text))

    def _take(self, message: dict[str, Any]) -> None:
        workcell = message.get("workcell", "")
        match message["op"]:
            case "subscribed" | "reset":
                self._answered.add(workcell)
                self.live.discard(workcell)
                self.cursors[workcell] = {"epoch": message["epoch"], "offset": message["offset"]}
            case "events":
                self.cursors[workcell]["offset"] = message["offset"] + len(message["events"])
            case "gap":
                self.cursors[workcell]["offset"] = message["until"]
            case "live":
                self.live.add(workcell)
            case _:
                pass

    def _abort(self) -> None:
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    def _record(self, workcell: str, place: Place) -> None:
        if self._socket is not None:
            self.live.discard(workcell)
            self.history.append(Requested(workcell, dict(place) if isinstance(place, dict) else place))

    async def _request(self, workcell: str, place: Place) -> None:
        self._paused.discard(workcell)
        self._record(workcell, place)
        await self._send({"op": "subscribe", "workcell": workcell, "from": place})

    async def _send(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(json.dumps(message))
