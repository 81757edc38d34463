"""Turns: work for clients that ask for much, a little at a time, so that events for other viewers come in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUESTS_AT_ONCE: Final = 2
_LONGEST_REST_SECONDS: Final = 0.05
_SLOW: Final = ("/account", "/api/stats", "/overview")
"""The ends of paths whose answers may take seconds, and which others do not wait for."""
_BOUNDED: Final = "/api/search"
"""A search may last, and takes turns of its own: see :mod:`workcast.consumer.search_api`."""


class Turns:
    """Callbacks of any number of clients, in the order in which they came, in at most half of the event loop's time."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False

    def call(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when it is its turn."""
        self._waiting.append(callback)
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self._rest, loop.time(), 2)
        self._waiting.popleft()()

    def _rest(self, began: float, rounds: int) -> None:
        """Leave the loop to others for as long as the last callback, and what it woke, have taken."""
        loop = asyncio.get_running_loop()
        if rounds:
            loop.call_soon(self._rest, began, rounds - 1)
        elif self._waiting:
            loop.call_later(loop.time() - began, self._next)
        else:
            self._busy = False


class RequestTurns:
    """ASGI middleware: two requests are worked on at once, and two whose answers may take long; others wait."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._quick, self._slow = (asyncio.Semaphore(_REQUESTS_AT_ONCE) for _ in range(2))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["path"] == _BOUNDED:
            return self._app(scope, receive, send)
        return self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = self._slow if scope["path"].endswith(_SLOW) else self._quick
        await turn.acquire()
        loop = asyncio.get_running_loop()
        held, began = True, loop.time()

        def release() -> None:
            """End the turn, after a rest as long as the work: other requests leave time for events."""
            nonlocal held
            if held:
                held = False
                loop.call_later(min(loop.time() - began, _LONGEST_REST_SECONDS), turn.release)

        async def send_without_turn(message: Message) -> None:
            # The answer is there; how long its client takes to read it is no matter of others.
            release()
            await send(message)

        try:
            await self._app(scope, receive, send_without_turn)
        finally:
            release()
