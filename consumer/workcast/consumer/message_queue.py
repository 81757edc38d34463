"""A queue of messages that one task reads: an asyncio.Queue takes 2 KB, empty, for each viewer."""

from __future__ import annotations

import asyncio
from typing import Any


class MessageQueue:
    """Messages in the order in which they were put; one task gets them."""

    __slots__ = ("_getter", "_messages")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._getter: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._messages

    def put_nowait(self, message: Any) -> None:
        self._messages.append(message)
        if self._getter is not None and not self._getter.done():
            self._getter.set_result(None)

    def some(self) -> asyncio.Future[None]:
        """Return what is done once there is a message; only for an empty queue."""
        self._getter = asyncio.get_running_loop().create_future()
        return self._getter

    def get_nowait(self) -> Any:
        """Remove and return the next message."""
        return self._messages.pop(0)
