"""A throttle: lets something happen at most once in a given time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Throttle:
    """Spaces out what one viewer is sent; ``seconds`` is the shortest time between two messages."""

    __slots__ = ("_due", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def ready(self, wake: Callable[[], None]) -> bool:
        """Whether the time has come; if not, ``wake`` is called once when it has."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._due:
            self._due = loop.time() + self._seconds
            return True
        if self._timer is None or self._timer.when() < self._due:
            self._timer = loop.call_at(self._due, wake)
        return False
