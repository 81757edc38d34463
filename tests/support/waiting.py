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
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}; last value: {value!r}")
        time.sleep(_STEP)


async def wait_until_async(condition: Callable[[], T], seconds: float = DEADLINE, what: str = "") -> T:
    """Like :func:`wait_until`, without blocking the event loop."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}; last value: {value!r}")
        await asyncio.sleep(_STEP)
