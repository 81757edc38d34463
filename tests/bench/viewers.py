"""Viewers for the measurements: many that only receive, and one that measures latencies."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from websockets.asyncio.client import ClientConnection, connect

from workcast.consumer.server import allow_many_files


async def measure_viewer(socket: ClientConnection) -> None:
    """Subscribe to ``wc``, which the gateway shows already, and wait until the subscription is live."""
    await socket.send(json.dumps({"op": "subscribe", "workcell": "wc", "from": "tail"}))
    async for text in socket:
        message = json.loads(text)
        if message["op"] == "error":
            raise AssertionError(f"expected a workcell that the gateway shows, got {message}")
        if message["op"] == "live":
            return


async def latencies(socket: ClientConnection, count: int) -> list[float]:
    """Return the seconds from each event's emit (``at``, on the machine's monotonic clock) to its arrival."""
    times: list[float] = []
    while len(times) < count:
        message = json.loads(await socket.recv())
        now = time.monotonic()
        times += [now - event["at"] for event in message.get("events", ())]
    return times


async def watch_fleet(socket: ClientConnection) -> None:
    """Subscribe to the fleet, and wait for its last first page."""
    await socket.send(json.dumps({"op": "subscribe", "fleet": True}))
    async for text in socket:
        message = json.loads(text)
        if message["op"] == "fleet" and not message["more"]:
            return


async def _watch(url: str, count: int, subscribe: Callable[[ClientConnection], Awaitable[None]]) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(url, compression=None)) for _ in range(count)]
        for socket in sockets:
            await subscribe(socket)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.gather(*(_receive(socket) for socket in sockets))


async def _receive(socket: ClientConnection) -> None:
    async for _ in socket:
        pass


if __name__ == "__main__":
    allow_many_files()
    asyncio.run(_watch(sys.argv[1], int(sys.argv[2]), watch_fleet if sys.argv[3:] else measure_viewer))
