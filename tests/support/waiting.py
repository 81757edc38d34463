"""Waiting for conditions, with a deadline: no test sleeps for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
DEADLINE = 20.0
_STEP = 0.005


def wait_until(condition: Callable[[], T], seconds: float = DEADLINE, what: str = "") -> T:
    """Wait for and return the first true value of ``condition``; fail after ``seconds``."""
    check = _bounded(condition, seconds, what)
    while not (value := check()):
        time.sleep(_STEP)
    return value


async def wait_until_async(condition: Callable[[], T], seconds: float = DEADLINE, what: str = "") -> T:
    """Like :func:`wait_until`, without blocking the event loop."""
    check = _bounded(condition, seconds, what)
    while not (value := check()):  # noqa: ASYNC110  (the condition may be any)
        await asyncio.sleep(_STEP)
    return value


def _bounded(condition: Callable[[], T], seconds: float, what: str) -> Callable[[], T]:
    """Return the condition as one that fails if its value is still false in ``seconds``."""
    deadline = time.monotonic() + seconds

    def check() -> T:
        value = condition()
        if not value and time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}; last value: {value!r}")
        return value

    return check
