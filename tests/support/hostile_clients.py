"""What hostile clients do to a gateway: one small function each, in a table.

A program, so that they take no time from the viewers that are measured: run with a port and a seed, it attacks until
it is killed, and prints the name of each attack.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

ATTACK_SECONDS: Final = 3.0
MAX_ATTACKS: Final = 4
"""At the same time."""
WORKCELLS: Final = tuple(f"hostile-{number}" for number in range(6))
_RESET: Final = struct.pack("ii", 1, 0)


@contextlib.asynccontextmanager
async def _stream(port: int) -> AsyncGenerator[ClientConnection]:
    """A viewer's connection, which ends abruptly."""
    made = await connect(f"ws://127.0.0.1:{port}/api/stream", max_queue=1, max_size=None, ping_interval=None)
    try:
        yield made
    finally:
        made.transport.abort()


async def _flood(port: int, frame: Callable[[int], str | None]) -> None:
    async with _stream(port) as made:
        for number in range(20_000):
            text = frame(number)
            await (made.ping() if text is None else made.send(text))


async def ping(port: int) -> None:
    """Frames of type ping, as fast as they go."""
    await _flood(port, lambda _: None)


async def ping_by_message(port: int) -> None:
    await _flood(port, lambda _: '{"op":"ping"}')


async def resubscribe(port: int) -> None:
    """To calm and hostile workcells, from the start."""
    workcells = ("calm-0", *WORKCELLS)

    def frame(number: int) -> str:
        return json.dumps({"op": "subscribe", "workcell": workcells[number % len(workcells)], "from": "start"})

    await _flood(port, frame)


async def send_nonsense(port: int) -> None:
    lies = (
        '{"op":"subscribe"}',
        "[]",
        "{",
        '{"op":"follow","workcell":"calm-0","follow":true,"epoch":1e99,"offset":-1}',
    )
    await _flood(port, lambda number: lies[number % len(lies)])


@contextlib.asynccontextmanager
async def _open(port: int) -> AsyncGenerator[asyncio.StreamWriter]:
    """A plain connection, which ends abruptly."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield writer
    finally:
        writer.transport.abort()


async def sit_idle(port: int) -> None:
    """Two hundred connections that send nothing, or half a request."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(200):
            writer = await stack.enter_async_context(_open(port))
            if number % 2:
                writer.write(b"GET /api/workcells HTTP/1.1\r\nHost: 127")
        await asyncio.sleep(ATTACK_SECONDS)


async def connect_and_reset(port: int) -> None:
    for _ in range(300):
        async with _open(port) as writer:
            writer.write(b"GET /api/stream HTTP/1.1\r\nUpgrade: websocket\r\n")
            made: socket.socket = writer.get_extra_info("socket")
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def send_a_body_slowly(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(_open(port)) for _ in range(20)]
        for writer in writers:
            writer.write(b"POST /api/workcells HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(30):
            for writer in writers:
                writer.write(b"x")
            await asyncio.sleep(ATTACK_SECONDS / 30)


async def never_read(port: int) -> None:
    """Subscribe to everything, and read nothing."""
    async with _stream(port) as made:
        for workcell in ("calm-0", "calm-1", *WORKCELLS):
            await made.send(json.dumps({"op": "subscribe", "workcell": workcell, "from": "start"}))
        await asyncio.sleep(ATTACK_SECONDS)


async def attack(client: Client, port: int) -> None:
    """Let a client attack for some seconds, or until it is closed or refused."""
    with contextlib.suppress(OSError, TimeoutError, WebSocketException, EOFError):
        async with asyncio.timeout(ATTACK_SECONDS + 2):
            await client(port)


Client = Callable[[int], Awaitable[None]]
CLIENTS: Final[tuple[Client, ...]] = (
    ping, ping_by_message, resubscribe, send_nonsense, sit_idle, connect_and_reset, send_a_body_slowly, never_read,
)  # fmt: skip


async def main() -> None:
    port, random = int(sys.argv[1]), Random(int(sys.argv[2]))
    attacks: set[asyncio.Task[None]] = set()
    while True:
        attacks = {task for task in attacks if not task.done()}
        if len(attacks) < MAX_ATTACKS:
            client = random.choice(CLIENTS)
            print(client.__name__, flush=True)
            attacks.add(asyncio.create_task(attack(client, port)))
        await asyncio.sleep(random.uniform(0, 1))


if __name__ == "__main__":
    asyncio.run(main())
