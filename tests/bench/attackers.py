"""Clients that attack a gateway, in a process of their own: ``python -m bench.attackers KIND HOST PORT``.

It prints ``ready`` once it attacks, and goes on until its standard input ends, or for at most two minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import Final

from support.raw_socket import HANDSHAKE
from workcast.consumer.server import allow_many_files

LARGE: Final = "large"
"""The workcell with many events."""
_MOST_SECONDS: Final = 120.0
_AT_ONCE: Final = 64 * 1024
"""Bytes handed to the kernel in one call."""
_RESET: Final = struct.pack("ii", 1, 0)


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one client frame, masked with zeros."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def subscribe(workcell: str, place: object) -> bytes:
    return frame(1, json.dumps({"op": "subscribe", "workcell": workcell, "from": place}).encode())


def jumps(epoch: int, head: int) -> bytes:
    return b"".join(subscribe(LARGE, {"epoch": epoch, "offset": random.randrange(head)}) for _ in range(500))


def request(path: str, method: str = "GET", headers: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


class Client:
    """One attacking connection: what it sends goes on for ever, or once; it reads all answers, or none."""

    def __init__(
        self,
        address: tuple[str, int],
        opening: bytes,
        flood: bytes = b"",
        *,
        then: bytes = b"",
        reads: bool = True,
        buffer: int = 0,
    ) -> None:
        self.address, self.opening, self.then, self.flood = address, opening, then, flood
        self.reads, self.buffer = reads, buffer
        self.socket: socket.socket | None = None
        self.left = memoryview(b"")

    def open(self) -> None:
        with contextlib.suppress(OSError):
            made = socket.socket()
            if self.buffer:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
            made.settimeout(20)
            made.connect(self.address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.sendall(self.opening)
            if self.then:
                made.recv(1)  # a client may send frames only once it has the answer to its handshake
                made.sendall(self.then)
            made.settimeout(0)
            self.socket = made

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket, self.left = None, memoryview(b"")

    def turn(self) -> None:
        """Send what the kernel takes and read what has come; connect again if the gateway has closed."""
        if self.socket is None:
            self.open()
        if self.socket is None:
            return
        try:
            if self.flood:
                if not self.left:
                    self.left = memoryview(self.flood)
                with contextlib.suppress(BlockingIOError):
                    self.left = self.left[self.socket.send(self.left[:_AT_ONCE]) :]
            if self.reads:
                with contextlib.suppress(BlockingIOError):
                    if not self.socket.recv(1 << 18):
                        self.close()
        except OSError:
            self.close()


def ended() -> bool:
    """Whether the measurement is over."""
    return bool(select.select([0], [], [], 0)[0])


def turns(clients: list[Client], pause: float) -> None:
    """Attack with all clients, until the end."""
    started = False
    until = time.monotonic() + _MOST_SECONDS
    while not ended() and time.monotonic() < until:
        for client in clients:
            client.turn()
        if not started:
            started = True
            ready()
        time.sleep(pause)


def ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def resets(address: tuple[str, int], opening: bytes) -> None:
    """Connect, send ``opening`` and reset the connection, as often as the machine can, until the end."""
    ready()
    until = time.monotonic() + _MOST_SECONDS
    while not ended() and time.monotonic() < until:
        for _ in range(20):
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                made.sendall(opening)


def slow_bodies(address: tuple[str, int], count: int) -> None:
    """Send requests whose bodies come byte by byte."""
    head = request("/api/session", "POST", "Content-Length: 100000\r\n")
    turns([Client(address, head, b"x") for _ in range(count)], 0.05)


def ask(address: tuple[str, int], path: str) -> bytes:
    with socket.create_connection(address, timeout=20) as made:
        made.sendall(request(path, headers="Connection: close\r\n"))
        return b"".join(iter(partial(made.recv, 1 << 16), b"")).partition(b"\r\n\r\n")[2]


def http_flood(address: tuple[str, int], paths: Iterator[str], count: int) -> None:
    turns([Client(address, b"", b"".join(request(next(paths)) for _ in range(200))) for _ in range(count)], 0.002)


def attacks(address: tuple[str, int]) -> dict[str, Callable[[], None]]:
    """Return every attack by its name."""

    def head() -> tuple[int, int]:
        found = json.loads(ask(address, f"/api/workcells/{LARGE}/events?limit=1"))
        return found["epoch"], found["head"]

    def flood(payload: bytes, count: int = 8) -> None:
        turns([Client(address, HANDSHAKE, payload) for _ in range(count)], 0.002)

    def pages() -> Iterator[str]:
        _, end = head()
        while True:
            yield f"/api/workcells/{LARGE}/events?limit=1000&offset={random.randrange(end)}"

    whole = subscribe(LARGE, "start")
    page = request(f"/api/workcells/{LARGE}/events?limit=1000")
    return {
        "pings": lambda: flood(frame(9, b"") * 5000),
        "pings_large": lambda: flood(frame(9, b"x" * 125) * 1000),
        "op_pings": lambda: flood(frame(1, b'{"op":"ping"}') * 2000),
        "subscribe_unknown": lambda: flood(subscribe("none", "start") * 1000),
        "subscribe_large": lambda: flood(whole * 1000),
        "subscribe_tail": lambda: flood(subscribe(LARGE, "tail") * 1000),
        "subscribe_jumps": lambda: flood(jumps(*head())),
        "idle_sockets": lambda: turns([Client(address, HANDSHAKE, reads=False) for _ in range(2000)], 0.05),
        "never_read": lambda: turns(
            [Client(address, HANDSHAKE, then=whole, reads=False, buffer=4096) for _ in range(30)], 0.05
        ),
        "slow_bodies": lambda: slow_bodies(address, 300),
        "resets": lambda: resets(address, b""),
        "resets_handshake": lambda: resets(address, HANDSHAKE),
        "get_session": lambda: http_flood(address, repeat("/api/session"), 16),
        "get_pages": lambda: http_flood(address, pages(), 16),
        "get_workcells": lambda: http_flood(address, repeat("/api/workcells"), 16),
        "get_account": lambda: http_flood(address, repeat(f"/api/workcells/{LARGE}/account?rows=messages"), 16),
        "get_metrics": lambda: http_flood(address, repeat("/metrics"), 16),
        "unread_answers": lambda: turns(
            [Client(address, page * 20, reads=False, buffer=4096) for _ in range(200)], 0.05
        ),
    }


if __name__ == "__main__":
    allow_many_files()
    os.nice(10)  # a remote attacker takes no time of this machine's processors
    attacks((sys.argv[2], int(sys.argv[3])))[sys.argv[1]]()
